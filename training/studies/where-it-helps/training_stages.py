"""Is what generated scans are worth a matter of how good the generator is?  One training, judged at five stages.

    python training/studies/where-it-helps/training_stages.py BUSI/ BUS-BRA/ BrEaST/ --home BUS-BRA --home BUSI \\
        --out FOLDER --features squeezenet1_1.safetensors --weights mobilenet_v2.safetensors

A class-conditional `projected` generator (64 x 64, constant learning rate) learns from four fifths of each ``--home``.
At each of `STAGES`, its quality is measured against the other fifth, and `NUMBER` lesions of each class are drawn, to
teach a logistic regression on 64 principal components of MobileNetV2's features (ImageNet's weights) benign from
malignant, *alone* or *beside* the real scans.  It answers the lesions of the other two collections.  All images have
the generator's size, so sharpness tells nothing; the strength of the regularisation is chosen on the real training
scans by three folds of patients.

Writes ``quality.csv`` and for each home ``stages-HOME.csv``: a row for each answered scan, a column of scores for the
real scans without any generated ones, and for each arm, stage and seed.  The same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import csv
import functools
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from generated_features import Floats, Ints
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold

from sonoforge.runtime.atomic import replacing
from sonoforge.runtime.cli.main import run as command
from sonoforge.training.data.cache import default_folder
from sonoforge.training.data.load import ImageSource, load_images
from sonoforge.training.data.pixels import Pixels, prepare_images
from sonoforge.training.data.splits import scan_groups
from sonoforge.training.evaluation.spaces import open_space
from sonoforge.training.gan import checkpoint
from sonoforge.training.gan.generator import load_generator, sample

SIDE, BATCH, COMPONENTS, NUMBER, HELD_OUT = 64, 16, 64, 400, 0.2
STAGES = (200, 400, 800, 1600, 3200)
STRENGTHS = (0.001, 0.01, 0.1, 1.0)
METRICS = "kid,precision-recall,density-coverage,spectrum"


class Lesions(NamedTuple):
    """Lesions of one collection: features (N, D), whether malignant (N,), patients (N,), files."""

    features: Floats
    labels: Ints
    patients: Ints
    files: list[str]


class Asked(NamedTuple):
    """What the command was given; the collection to train on, and the seed of a generator."""

    home: str
    folder: Path
    features: Path
    weights: str
    cache: Path
    out: Path
    seed: int


def embed(images: Pixels, weights: str) -> Floats:
    return open_space("mobilenetv2-imagenet", weights).embed(prepare_images(images, SIDE, 1)).features.astype(float)


def read(folder: Path, weights: str, cache: Path) -> tuple[str, Lesions]:
    own = load_images(ImageSource((str(folder),), 0, 0, cache, fewest_classes=2))
    names = np.array([own.dataset.classes[label] for label in own.dataset.labels])
    chosen = np.flatnonzero(np.isin(names, ("benign", "malignant")))
    malignant = (names[chosen] == "malignant").astype(np.int64)
    files = [own.dataset.items[i].path for i in chosen]
    return own.dataset.name, Lesions(embed(own.images[chosen], weights), malignant, scan_groups(own)[chosen], files)


def sonoforge(*arguments: str) -> None:
    if command([*arguments, "--quiet"]):
        raise SystemExit(1)


def train_generator(asked: Asked) -> Path:
    folder = asked.out / f"{asked.home}-{asked.seed}"
    options = {
        "recipe": "projected",
        "preset": "small-data",
        "features": asked.features,
        "conditioning": "projection",
        "image-size": SIDE,
        "width": 12,
        "latent-size": 64,
        "batch": BATCH,
        "steps": STAGES[-1],
        "tick-steps": STAGES[0],
        "precision": "bf16",
        "schedule": "constant",
        "held-out": HELD_OUT,
        "metrics": "none",
        "seed": asked.seed,
    }
    flags = ["--data", str(asked.folder), "--out", str(folder), "--set", f"cache.folder={asked.cache}"]
    for name, value in options.items():
        flags += ["--set", f"gan.{name.replace('-', '_')}={value}"]
    checkpoint.KEPT = 2 * STAGES[-1]  # all, and those of interruptions
    sonoforge("gan", "train", *flags, "--resume")
    return max(folder.glob("*-gan-*"))


def measure(run: Path, step: int, asked: Asked) -> list[dict[str, object]]:
    """Measure a stage against the scans that its generator never saw: a row for each metric."""
    folder = run.parent / f"quality-{step}"
    if not any(folder.glob("*/results.json")):
        asking = ["--checkpoint", str(step), "--metrics", METRICS, "--features", "mobilenetv2-imagenet"]
        more = ["--set", f"metrics.weights={asked.weights}", "--set", "metrics.repeats=20", "--out", str(folder)]
        more += ["--set", f"cache.folder={asked.cache}"]
        sonoforge("evaluate", str(run), *asking, *more)
    found = json.loads(max(folder.glob("*/results.json")).read_text(encoding="utf-8"))
    return [
        {"trained on": asked.home, "seed": asked.seed, "step": step}
        | {name: row[name] for name in ("name", "value", "floor", "ratio")}
        for row in found["metrics"]
    ]


def draw(run: Path, step: int, asked: Asked) -> Lesions:
    """Embed what the generator of a stage draws, `NUMBER` lesions of each class."""
    path = run.parent / f"drawn-{step}.npy"
    if not path.is_file():
        stage = run / "checkpoints" / f"step-{step:08}"
        generator = load_generator(stage)
        classes = json.loads((stage / "checkpoint.json").read_text(encoding="utf-8"))["classes"]
        images = [sample(generator, NUMBER, asked.seed, classes.index(kind)) for kind in ("benign", "malignant")]
        with replacing(path) as file:
            np.save(file, embed(np.concatenate(images), asked.weights))
    labels = np.repeat([0, 1], NUMBER)
    return Lesions(np.load(path, allow_pickle=False), labels, labels, [])


def answers(real: Lesions, added: Lesions | None, alone: bool, tests: list[Lesions]) -> Floats:
    """Fit on real scans, on generated ones or on both; return the scores of all tests' scans."""

    def fitted(chosen: Ints, strength: float) -> LogisticRegression:
        sets = ([] if alone else [(real.features[chosen], real.labels[chosen])]) + (
            [(added.features, added.labels)] if added else []
        )
        vectors, labels = (np.concatenate(columns) for columns in zip(*sets, strict=True))
        return LogisticRegression(C=strength, max_iter=300).fit(vectors, labels)

    scores = np.zeros((len(STRENGTHS), len(real.labels)))
    for own, rest in GroupKFold(3).split(real.features, groups=real.patients):
        for place, strength in enumerate(STRENGTHS):
            scores[place, rest] = fitted(own, strength).decision_function(real.features[rest])
    best = STRENGTHS[int(np.argmax([roc_auc_score(real.labels, row) for row in scores]))]
    network = fitted(np.arange(len(real.labels)), best)
    return np.concatenate([network.decision_function(test.features) for test in tests])


def main() -> None:
    """Train, draw, measure and answer what is not done yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+", type=Path, help="folders of classes benign and malignant")
    parser.add_argument("--home", required=True, action="append", help="name of a collection to train on; repeatable")
    parser.add_argument("--features", required=True, type=Path, help="SqueezeNet's ImageNet weights, .safetensors")
    parser.add_argument("--weights", required=True, help="MobileNetV2's ImageNet weights, .safetensors")
    parser.add_argument("--seeds", default="0,1", help="default: %(default)s")
    parser.add_argument("--cache", type=Path, default=default_folder(), help="of decoded images")
    parser.add_argument("--out", required=True, type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.out.mkdir(parents=True, exist_ok=True)
    sets, folders = {}, {}
    for folder in given.data:
        name, lesions = read(folder, given.weights, given.cache)
        sets[name], folders[name] = lesions, folder
    quality: list[dict[str, object]] = []
    for home in given.home:
        others = [name for name in sets if name != home]
        space = PCA(COMPONENTS, whiten=True, random_state=0).fit(sets[home].features)
        small = {name: own._replace(features=space.transform(own.features)) for name, own in sets.items()}
        judge = functools.partial(answers, small[home], tests=[small[name] for name in others])
        columns = {"real": judge(None, False)}
        for seed in map(int, given.seeds.split(",")):
            asked = Asked(home, folders[home], given.features, given.weights, given.cache, given.out, seed)
            run = train_generator(asked)
            for step in STAGES:
                quality += measure(run, step, asked)
                added = draw(run, step, asked)
                added = added._replace(features=space.transform(added.features))
                for arm in ("alone", "beside"):
                    columns[f"{arm} {step} {seed}"] = judge(added, arm == "alone")
        write_answers(given.out / f"stages-{home}.csv", {name: sets[name] for name in others}, columns)
    with (given.out / "quality.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(quality[0]))
        writer.writeheader()
        writer.writerows(quality)


def write_answers(path: Path, tests: dict[str, Lesions], columns: dict[str, Floats]) -> None:
    scans = [
        (name, file, patient, label)
        for name, own in tests.items()
        for file, patient, label in zip(own.files, own.patients, own.labels, strict=True)
    ]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["data", "file", "patient", "malignant", *columns])
        for scan, *scores in zip(scans, *columns.values(), strict=True):
            writer.writerow([*scan, *(f"{score:.3f}" for score in scores)])


if __name__ == "__main__":
    main()
