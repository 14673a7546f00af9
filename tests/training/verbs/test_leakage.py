"""``crossval --protocol leakage``: planted leaks are found, each by its own step, and none where none is planted.

The program deals the folds; a stand-in for the classifier answers as the nearest image that it read.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from program import refused, succeed
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.crossval import preparation
from sonoforge.training.crossval.arms import find_arm
from sonoforge.training.crossval.preparation import Prepared
from sonoforge.training.data.cache import ImageCache
from sonoforge.training.data.datasets import Dataset, Item
from sonoforge.training.data.splits import make_plan
from sonoforge.training.jobs import comparing
from sonoforge.training.statistics import classification
from sonoforge.training.statistics.between_runs import measure_leakage
from sonoforge.training.statistics.intervals import paired_bootstrap
from sonoforge.training.statistics.predictions import Predictions, read_predictions, write_predictions

ARGUMENTS = ["--protocol", "leakage", "--data", "noise", "--arms", "real,gan-all", "--folds", 4, "--seeds", 2]
ARGUMENTS += ["--device", "cpu", "--set", "cache.folder=none", "--set", "classifier.weights=none"]


def noise(alike: int) -> ImageCache:
    """Noise under two labels, 40 images each, of which so many in a row show the same scan."""
    rng = np.random.default_rng(0)
    scans = rng.integers(30, 220, (80 // alike, 16, 16)).repeat(alike, axis=0)
    pixels = (scans + rng.integers(-5, 6, scans.shape)).astype(np.uint8)
    items = tuple(Item(f"{i // 40}/{i:02}.png", i // 40, str(i // alike)) for i in range(80))
    hashes, sizes = tuple(hashlib.sha256(own).hexdigest() for own in pixels), np.full((80, 2), 16)
    dataset, images = Dataset("noise", Path("/noise"), ("one", "two"), items), np.repeat(pixels[..., None], 3, axis=3)
    cache = ImageCache(dataset, 16, images, hashes, [*pixels], sizes, np.pad(sizes, ((0, 0), (2, 0))), (), {})
    none = np.empty(0, np.int64)  # groups come with the data; the search for them is tested elsewhere
    cache.__dict__["near_duplicates"] = SimpleNamespace(pairs=SimpleNamespace(first=none, second=none))
    return cache


def nearest(folder: Path, prepared: Prepared) -> Any:
    cache, settings = prepared.cache, prepared.settings
    pixels, labels, parts = cache.images[..., 0].reshape(80, -1).astype(float), cache.dataset.labels, []
    apart = ((pixels[:, None] - pixels) ** 2).sum(axis=2)
    for seed in settings.seeds:
        plan = make_plan(cache, settings.protocol, settings.folds, seed)
        for arm in settings.arms:
            sees_all = find_arm(arm).reads_generators and settings.protocol == "thesis"
            said = np.zeros((80, 2))
            for fold in range(plan.folds):
                read, test = np.arange(80) if sees_all else plan.train(fold), plan.test(fold)
                said[test] = np.eye(2)[labels[read[apart[np.ix_(test, read)].argmin(axis=1)]]]
            own = plan.files, np.array(plan.groups), np.array(plan.fold_of), labels, said
            parts.append(Predictions(arm, settings.protocol, seed, *own))
    write_predictions(folder / "predictions.csv", parts, cache.dataset.classes)
    return {}


def test_planted_leaks_are_found_each_by_its_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparing, "compare", nearest)
    monkeypatch.setattr(comparing, "load_images", lambda source: noise(2))
    monkeypatch.setattr(preparation, "find_second_views", lambda cache: [])
    done = succeed("crossval", *ARGUMENTS, "--out", tmp_path)
    found, said = done.json, " ".join(done.said.split())
    assert [(own["arm"], own["first"], own["second"]) for own in found["steps"]] == [
        ("real", "sealed", "plain"),
        *(("gan-all", *pair) for pair in (("sealed", "plain"), ("plain", "thesis"), ("sealed", "thesis"))),
    ]
    assert all(own["accuracy"]["low"] > 0 for own in found["steps"])
    # Under plain folds three of four images have their near-duplicate in training; chance answers half of the others.
    assert found["accuracy"]["real"]["plain"]["value"] == pytest.approx(0.875, abs=0.1)
    assert found["accuracy"]["gan-all"]["thesis"]["value"] == 1
    (gain,) = found["gains"]
    assert gain["gains"]["sealed"]["value"] == gain["gains"]["plain"]["value"] == 0
    assert gain["beyond_sealed"]["thesis"]["low"] > 0
    assert (found["images"], found["grouped"], found["groups"]) == (80, 80, 40)
    assert "as plain" in said and "no such image" in said and found["choice"] in said
    run = Path(found["run"])
    assert json.loads((run / "results.json").read_text())["steps"] == found["steps"]
    table = run / "predictions.csv"
    again = succeed("crossval", "--from", table)
    doubt = again.json["doubt"]
    assert doubt.startswith("as recorded by ")
    assert again.json == {"doubt": doubt} | {key: found[key] for key in again.json if key != "doubt"}
    assert " ".join(again.said.split()).removeprefix(f"{doubt} ") in said
    assert "--from cannot be combined" in refused("crossval", "--from", table, "--seeds", 2)
    before = table.read_bytes()
    (run / "results.json").unlink()
    for name in ("check_images", "check_finished"):  # the stand-in keeps no folds
        monkeypatch.setattr(comparing, name, lambda *_: None)
    monkeypatch.setattr(comparing, "compare", None)  # finished protocols are read
    assert succeed("crossval", *ARGUMENTS, "--out", tmp_path, "--resume").json["run"] == str(run)
    assert table.read_bytes() == before


def test_figures_are_those_of_a_paired_bootstrap(tmp_path: Path) -> None:
    parts = []
    for name in ("sealed", "plain"):
        (tmp_path / name).mkdir()
        settings: Any = SimpleNamespace(protocol=name, folds=4, seeds=[0], arms=["real"])
        nearest(tmp_path / name, SimpleNamespace(cache=noise(1), settings=settings))  # type: ignore[arg-type]
        parts += read_predictions(tmp_path / name / "predictions.csv")[0]
    first, second = parts
    found = measure_leakage(parts)
    (step,) = found["steps"]
    for name, figure in (("accuracy", classification.accuracies), ("macro_auc", classification.macro_aucs)):
        known = paired_bootstrap(figure, first.labels, first.probabilities, second.probabilities, first.groups)
        assert step[name] == pytest.approx(known) and step[name]["low"] <= 0 <= step[name]["high"]
    assert step["accuracy_of_single"] == step["accuracy"] and found["grouped"] == 0
    other = dataclasses.replace(second, files=("else.png", *second.files[1:]))
    for wrong, why in ((other, "2 images"), (dataclasses.replace(second, seed=1), "real under plain: seeds")):
        with pytest.raises(SonoforgeError, match=why):
            measure_leakage([first, wrong])
