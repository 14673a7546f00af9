"""Which images exported files are judged on."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from sonoforge.export.gate.images import FEWEST, PHANTOMS, find_images
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.data.load import ImageSource, load_images
from sonoforge.training.statistics.predictions import Predictions, write_predictions

CLASSES = ("normal", "benign", "malignant")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def scans(cache: Path) -> Path:
    """A folder of 105 simulated scans."""
    return load_images(ImageSource("phantom", 105, 3, str(cache))).dataset.root


def settings(cache: Path, **values: object) -> dict[str, object]:
    return {"cache": str(cache), **values}


def test_a_run_is_judged_on_its_own_images_with_their_classes(cache: Path, scans: Path) -> None:
    images = find_images("", None, settings(cache, data=str(scans)), CLASSES, "real")
    assert len(images.pixels) == len(images.files) == 105
    assert images.labels is not None
    assert [CLASSES[label] for label in images.labels] == [file.parent.name for file in images.files]
    assert images.sealed is None
    assert images.names[0] == "normal/normal (1).png"
    assert all(file.is_file() for file in images.files)
    others = find_images("", None, settings(cache, data=str(scans)), ("a", "b", "c"), "real")
    assert others.labels is None


def test_sealed_answers_are_found_by_file_whatever_their_order(cache: Path, scans: Path, tmp_path: Path) -> None:
    names = [f"{file.parent.name}/{file.name}" for file in sorted(scans.rglob("*.png"))]
    truth = np.array([CLASSES.index(name.split("/")[0]) for name in names])
    table = np.random.default_rng(0).dirichlet(np.ones(3), len(names))
    zeros = np.zeros(len(names), np.int64)
    parts = [
        Predictions(arm, "sealed", 0, tuple(names), zeros, zeros, truth, values)
        for arm, values in (("gan", table[::-1].copy()), ("real", table))
    ]
    write_predictions(tmp_path / "predictions.csv", parts, CLASSES)
    images = find_images("", tmp_path, settings(cache, data=str(scans)), CLASSES, "real")
    assert images.sealed is not None
    expected = dict(zip(names, table, strict=True))
    for name, row in zip(images.names, images.sealed, strict=True):
        assert np.allclose(row, expected[name])
    assert find_images("", tmp_path, settings(cache, data=str(scans)), CLASSES, "weighted").sealed is None
    (tmp_path / "predictions.csv").write_text("\n".join((tmp_path / "predictions.csv").read_text().splitlines()[:100]))
    assert (
        find_images("", tmp_path, settings(cache, data=str(scans)), CLASSES, "gan").sealed is None
    )  # rows are missing


@pytest.mark.parametrize("own", [{"data": "phantom", "images": 30}, {"data": "gone"}, {}])
def test_simulated_scans_stand_in_for_too_few_images_or_none(cache: Path, own: dict[str, object]) -> None:
    images = find_images("", None, settings(cache, **own), CLASSES, "real")
    assert len(images.pixels) == PHANTOMS >= FEWEST
    assert "phantom" in images.source


def test_phantom_by_name_is_enough_whatever_the_run_had(cache: Path) -> None:
    images = find_images("phantom", None, settings(cache, data="phantom", images=30), CLASSES, "real")
    assert len(images.pixels) == PHANTOMS


def test_too_few_images_asked_for_by_name_are_refused(cache: Path, scans: Path, tmp_path: Path) -> None:
    for name in CLASSES[:2]:
        (tmp_path / "few" / name).mkdir(parents=True)
        shutil.copy(next((scans / name).glob("*).png")), tmp_path / "few" / name)
    with pytest.raises(SonoforgeError, match=r"few: found 2 images, expected at least 100.*or phantom"):
        find_images(str(tmp_path / "few"), None, settings(cache), CLASSES, "real")
