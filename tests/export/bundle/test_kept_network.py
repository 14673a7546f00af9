"""A bundle's network takes the held-out record of a run of the same recipe on the same images, and of no other."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from program import sonoforge, succeed
from sonoforge.export.bundle.kept_network import keep_network
from sonoforge.runtime.bundle.reader import Bundle, open_bundle
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.classifier.model_folder import ModelArrays, ModelRecord

OTHER: dict[str, Any] = {
    "data": "phantoms", "fingerprint": "0" * 64, "images": ["0" * 16], "count": 779, "class_counts": {"normal": 1},
    "arm": "gan", "budget": "quick", "epochs": 5, "frozen_blocks": 11, "ensemble_size": 3, "mirror": True,
    "weights": "none", "seed": 1,
}  # fmt: skip
NO_ARRAYS = ModelArrays(*[np.zeros(0)] * 5)


def like(bundle: Bundle[Any], **changed: Any) -> ModelRecord:
    """The record of a run of the bundle's own recipe, but for what is changed."""
    raw = copy.deepcopy(bundle.manifest.raw)
    values: dict[str, Any] = {
        "name": "run", "version": "1", "classes": bundle.classes, "shared_blocks": 0, "mirror": False,
        "temperature": 1.0, "conformal": raw["conformal"], "trust": {"median": 1.0, "threshold": 2.0}, "quality": {},
        "training": {**raw["training"], "data_images": raw["training"]["count"], "choice": "."},
        "evaluation": raw["evaluation"],
        "intended_use": "tests", "image_size": bundle.manifest.preprocessing.size,
    }  # fmt: skip
    training = {**values["training"], **{key: value for key, value in changed.items() if key in values["training"]}}
    return ModelRecord(
        **{**values, **{k: v for k, v in changed.items() if k in ("classes", "crop")}, "training": training}
    )


@pytest.mark.parametrize("key", OTHER)
def test_a_run_of_another_recipe_or_of_other_images_is_refused_by_name(key: str, tmp_path: Path) -> None:
    bundle = open_bundle()
    with pytest.raises(SonoforgeError, match=rf"{key}: found .*, expected .*same recipe on the same images"):
        keep_network(bundle, tmp_path, like(bundle, **{key: OTHER[key]}), NO_ARRAYS)


def test_other_classes_another_crop_and_a_model_judged_itself_are_refused(tmp_path: Path) -> None:
    bundle = open_bundle()
    for changed, words in (
        ({"classes": ("benign", "malignant", "normal")}, "classes: found"),
        ({"crop": "auto"}, "crop: found 'auto', expected 'none'"),
        ({"data_images": 9000}, "expected a cross-validated run"),
    ):
        with pytest.raises(SonoforgeError, match=words):
            keep_network(bundle, tmp_path, like(bundle, **changed), NO_ARRAYS)


def test_only_a_run_takes_a_network(tmp_path: Path) -> None:
    done = sonoforge("export", "shipped", "--network", "shipped", "--out", tmp_path / "b")
    assert done.code == 2
    assert "is no run of a classifier" in done.err


@pytest.mark.slow  # a minute of one core: a whole run and an export
def test_its_own_network_gives_a_run_the_bundle_that_it_has(tmp_path: Path) -> None:
    done = succeed(
        "run", "--data", "phantom", "--images", "60", "--folds", "2", "--device", "cpu", "--arms", "real", "--weights",
        "shipped", "--frozen-blocks", "17", "--epochs", "1", "--ensemble-size", "1", "--jobs", "1", "--out",
        tmp_path / "runs", "--cache", tmp_path / "cache",
    )  # fmt: skip
    run = Path(done.json["run"])
    succeed("export", run, "--network", run / "bundle", "--out", tmp_path / "kept")
    own, kept = (json.loads((folder / "manifest.json").read_text()) for folder in (run / "bundle", tmp_path / "kept"))
    assert "trained earlier" not in own["training"].pop("choice")
    assert "trained earlier with the same settings" in kept["training"].pop("choice")
    for key in ("name", "classes", "calibration", "conformal", "trust", "quality", "training", "evaluation"):
        assert kept[key] == own[key], key
    first, second = (np.load(folder / "reference.npz") for folder in (run / "bundle", tmp_path / "kept"))
    assert sorted(first.files) == sorted(second.files)
    for name in first.files:
        assert np.allclose(first[name].astype(float), second[name], atol=1e-3), name
    refused = sonoforge("export", run, "--network", "shipped", "--out", tmp_path / "other")
    assert refused.code == 2
    assert "data: found" in refused.err
