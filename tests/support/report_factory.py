"""Makes small run folders with invented predictions, for the tests of the report; nothing is trained."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
from PIL import Image

from pages import Page
from places import SUPPORT
from sonoforge.runtime.atomic import write_json, write_text
from sonoforge.training import run_folder
from sonoforge.training.classifier.settings import ClassifierSettings
from sonoforge.training.crossval.arms import find_arm
from sonoforge.training.crossval.fold_task import FoldResult, MadeFrom
from sonoforge.training.data.audit import audit
from sonoforge.training.data.cache import ImageCache
from sonoforge.training.data.datasets import Dataset, Item
from sonoforge.training.data.split_plan import SplitPlan, save_plan
from sonoforge.training.data.splits import leaked_images, make_plan
from sonoforge.training.gan.options import GanSettings
from sonoforge.training.reports.run.page import write_report
from sonoforge.training.reports.run.whole_run import read_run
from sonoforge.training.statistics import tables
from sonoforge.training.statistics.calibration import describe_flags
from sonoforge.training.statistics.predictions import Predictions, write_predictions

EPOCHS = 3


class Run(NamedTuple):
    """A run folder and what `write_report` is given with it."""

    folder: Path
    cache: ImageCache
    audited: dict[str, Any]
    results: Any


class Written(NamedTuple):
    """A run and its page."""

    run: Run
    page: Page


def written(run: Run) -> Written:
    """Write a run's report and read it."""
    return Written(run, Page(write_report(read_run(*run)).read_text(encoding="utf-8")))


@functools.cache  # with its search for near-duplicates
def make_cache(classes: tuple[str, ...], counts: tuple[int, ...], seed: int = 0) -> ImageCache:
    """Noise images; the first image of each class has a brighter copy, the first two classes share a scan."""
    rng = np.random.default_rng(seed)
    items, pictures = [], []
    for label, (name, count) in enumerate(zip(classes, counts, strict=True)):
        for number in range(count):
            items.append(Item(f"{name}/{name} ({number + 1}).png", label))
            pictures.append(rng.integers(40, 200, (64, 64), dtype=np.uint8))
        pictures[-1] = pictures[-count] // 2 + 60
    pictures[1] = pictures[counts[0] + 1].copy()
    small = np.stack(pictures)
    images = np.repeat(small[:, ::2, ::2, None], 3, axis=3)
    hashes = tuple(hashlib.sha256(f"{i}".encode() + image.tobytes()).hexdigest() for i, image in enumerate(small))
    sizes = np.stack([rng.integers(200, 900, len(items)), rng.integers(200, 700, len(items))], axis=1)
    dataset = Dataset("invented", Path("/invented"), tuple(classes), tuple(items))
    modes = tuple("L" if i % 3 else "RGB grey" for i in range(len(items)))
    boxes = np.pad(sizes.astype(np.int64), ((0, 0), (2, 0)))
    return ImageCache(dataset, 32, images, hashes, list(small), sizes.astype(np.int64), boxes, modes, {})


def invented_probabilities(labels: Any, classes: int, right: float, seed: int) -> Any:
    """Probabilities whose highest one is the true class for about a share ``right`` of the images."""
    rng = np.random.default_rng(seed)
    raw = rng.dirichlet(np.full(classes, 0.8), len(labels))
    for i, label in enumerate(labels):
        target = label if rng.random() < right else rng.choice([c for c in range(classes) if c != label])
        best = int(raw[i].argmax())
        raw[i, [target, best]] = raw[i, [best, target]]
    return raw


def make_run(
    folder: Path,
    classes: Sequence[str] = ("normal", "benign", "malignant"),
    counts: Sequence[int] = (24, 40, 32),
    arms: Sequence[tuple[str, float]] = (("real", 0.75), ("gan", 0.8)),
    protocol: str = "sealed",
    folds: int = 4,
    seeds: int = 1,
    *,
    with_collapse: bool = False,
    collections: Sequence[str] = (),
) -> Run:
    """Write a whole run folder.

    Args:
        folder: Made here.
        classes: Class names.
        counts: Images of each class.
        arms: Each arm with its share of right answers.
        protocol: See `make_plan`.
        folds: Number of folds.
        seeds: Number of seeds.
        collections: Names of those that the groups are of, in turn.
        with_collapse: Whether the last class's generator of the second fold ends collapsed; its log is cut short.
    """
    cache = make_cache(tuple(classes), tuple(counts))
    labels = cache.dataset.labels
    plans = [make_plan(cache, protocol, folds, seed) for seed in range(seeds)]
    write_text(folder / "config.yaml", f"data: /invented\nprotocol: {protocol}\n")
    command = ["/somewhere/bin/sonoforge", "run", "--data", "my scans", "--resume"]
    with mock.patch.object(sys, "argv", command):
        run_folder.write_environment(folder, "cpu", 0, cache.fingerprint)
    filled = [name for name, count in zip(classes, counts, strict=True) if count < max(counts)]
    parts = []
    for plan in plans:
        save_plan(folder / ("splits.json" if plan.seed == 0 else f"splits-seed{plan.seed}.json"), plan)
        own = plan.tested
        files, groups = tuple(plan.files[i] for i in own), np.array(plan.groups)[own]
        sources = tuple(collections[group % len(collections)] for group in groups if collections)
        for n, (arm, right) in enumerate(arms):
            probabilities = invented_probabilities(labels[own], len(classes), right, 10 * plan.seed + n)
            kept = (files, groups, np.array(plan.fold_of)[own], labels[own], probabilities)
            parts.append(Predictions(arm, protocol, plan.seed, *kept, collections=sources))
            for fold in range(folds):
                _write_fold(folder, cache, plan, fold, parts[-1], filled)
    write_predictions(folder / "predictions.csv", parts, classes)
    results: dict[str, Any] = {
        "data": cache.dataset.name,
        "classes": list(classes),
        "class_counts": list(counts),
        "protocol": protocol,
        "budget": "quick",
        "classifier": dataclasses.asdict(ClassifierSettings(epochs=EPOCHS)),
        "gan": dataclasses.asdict(GanSettings(image_size=64, steps=120, batch=32)),
        "doubts": [],
        "weights": "invented weights",
    }
    results |= tables.evaluate(parts, tuple(classes))
    rng = np.random.default_rng(5)
    for arm, figures in results["arms"].items():
        figures |= {"title": find_arm(arm).title, "train_accuracy": 0.98, "seconds": 12.5}
        accuracies = [[0.9 + 0.01 * (seed + fold) for fold in range(folds)] for seed in range(seeds)]
        figures["train_accuracy_by_seed"] = accuracies
        figures["learning_curves"] = [
            [
                {"epoch": e + 1, "loss": 1.1 / (e + 1) + 0.1 * rng.random(), "accuracy": 0.6 + 0.1 * e}
                for e in range(EPOCHS)
            ]
            for _ in range(folds)
        ]
        part = next(own for own in parts if (own.arm, own.seed) == (arm, 0))
        figures["flags"] = describe_flags(part, 0.1, {"far": rng.random(len(part.labels))}, {"none": part.labels < 0})
        fold_classes = [np.bincount(labels[plans[0].train(fold)], minlength=len(classes)) for fold in range(folds)]
        filling = arm in ("gan", "duplicates")
        figures["generated_per_fold"] = [int((c.max() - c).sum()) if filling else 0 for c in fold_classes]
    results["split"] = {
        "protocol": protocol,
        "folds": folds,
        "images": len(labels),
        "groups": len(set(plans[0].groups)),
        "fold_sizes": [len(plans[0].test(fold)) for fold in range(folds)],
        "test_images_with_near_duplicate_in_training": [len(leaked_images(plans[0], f, cache)) for f in range(folds)],
        "second_opinion": {
            **{"compared": 3000, "threshold": 0.5, "leaks": []},
            **{"possible_second_views": [], "distinct_by_hand": []},
        },
        "chosen_on": 0,
        "fingerprint": cache.fingerprint,
    }
    if any(arm == "gan" for arm, _ in arms):
        _write_generators(folder, cache, filled, folds)
        if with_collapse:
            path = folder / "gan" / "seed0-fold01" / filled[-1] / "stats.jsonl"
            rows = [json.loads(line) for line in path.read_text().splitlines()]
            rows[-1] |= {"collapsed": True, "diversity": 0.1}
            write_text(path, "".join(json.dumps(row) + "\n" for row in rows) + '{"step": 13')
    found = json.loads((SUPPORT / "report_bundle.json").read_text(encoding="utf-8"))
    results |= found["results"] | {"final_arm": next(iter(results["arms"]))}
    manifest = found["manifest"] | {"training": {"count": results["split"]["images"]}}
    write_json(folder / "bundle" / "manifest.json", manifest)
    return Run(folder, cache, audit(cache), results)


def _write_fold(
    folder: Path, cache: ImageCache, plan: Any, fold: int, part: Predictions, filled: Sequence[str]
) -> None:
    train, arm, own = plan.train(fold), part.arm, part.reordered(np.flatnonzero(part.folds == fold))
    reads = {"classifier": [cache.hashes[i] for i in train]}
    if arm == "gan":
        seen = np.arange(len(plan.files)) if plan.protocol == "thesis" else train
        for name in filled:
            label = cache.dataset.classes.index(name)
            reads[f"generator {name}"] = [cache.hashes[i] for i in seen if cache.dataset.labels[i] == label]
        reads["generated"] = ["f" * 64]
    path = folder / "folds" / f"{arm}-seed{plan.seed}-fold{fold:02d}.json"
    write_reads(path, plan, fold, reads, arm)
    answers = {"files": list(own.files), "probabilities": own.probabilities.tolist()}
    write_json(path, json.loads(path.read_text(encoding="utf-8")) | answers)


def write_reads(
    path: Path,
    plan: SplitPlan,
    fold: int,
    reads: dict[str, list[str]],
    arm: str = "real",
    inner_of: int | None = None,
) -> None:
    """Write a fold's result that says nothing but what its stages read."""
    made = {"files": [], "probabilities": [], "accuracy": 0.0, "train_accuracy": 0.0, "seconds": 0.0, "reads": reads}
    made |= {"made_from": MadeFrom(plan.digest, "", {}), "inner_of": inner_of}
    write_json(path, FoldResult(arm, "sealed", plan.seed, fold, **made))


def _write_generators(folder: Path, cache: ImageCache, filled: Sequence[str], folds: int) -> None:
    rng = np.random.default_rng(3)
    for name in filled:
        for fold in range(folds):
            own = folder / "gan" / f"seed0-fold{fold:02d}" / name
            rows = [
                {
                    "step": step,
                    "discriminator_loss": 0.9 + 0.1 * rng.random(),
                    "generator_loss": 2 + rng.random(),
                    "diversity": 0.2 if fold == 0 and step == 100 else 0.7 + 0.1 * rng.random(),
                    "distance": 0.1 + 0.02 * rng.random(),
                    "collapsed": fold == 0 and step == 100,
                }
                for step in (50, 100, 120)
            ]
            write_text(own / "stats.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
            write_json(own / "results.json", {"plan": {"steps": 120, "batch": 32, "learning_rate": 1e-3}, "images": 17})
        (folder / "samples").mkdir(exist_ok=True)
        for kind in ("real", "generated"):
            picture = Image.fromarray(np.asarray(cache.images[0])).resize((128, 128))
            picture.save(folder / "samples" / f"{kind}-{name}.png")
