"""The feature space where none is named: the shipped bundle's for breast ultrasound alone, never silently elsewhere."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from places import SHARED
from program import refused, succeed, words
from sonoforge.runtime import Classifier
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.inference.trust import LEAST_KNOWN
from sonoforge.training.evaluation.spaces import choose_space, known_share
from sonoforge.training.gan import ticks
from sonoforge.training.phantom.dataset import generate_phantom_set

DATA = SHARED / "data"
WEIGHTS = "mobilenet_v2-b0353104.pth"  # torchvision's name of the published file
FAST = ["--metrics", "kid", "--set", "metrics.repeats=5", "--device", "cpu"]
SMALL = words(
    "--recipe dcgan --set gan.held_out=0 --set gan.width=4 --size 32 --set gan.batch=4 --steps 2 --device cpu"
)


@pytest.fixture(autouse=True)
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Torch's folder of downloads, empty; and logs that caplog sees."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(ticks, "GENERATED", 8)
    logging.getLogger("sonoforge").propagate = True
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    return tmp_path / "hub" / "checkpoints"


def _cell(seed: int, side: int = 96) -> Image.Image:
    """A dark nucleus in a pale cell, in the colours of a Pap smear."""
    chance = np.random.default_rng(seed)
    rows, columns = np.mgrid[:side, :side] / side - 0.5
    distance = np.hypot(rows - chance.uniform(-0.1, 0.1), columns * chance.uniform(0.8, 1.2))
    pixels = np.full((side, side, 3), (205.0, 225.0, 215.0))
    pixels[distance < 0.4] = (150, 175, 190)
    pixels[distance < chance.uniform(0.08, 0.2)] = (80, 50, 110)
    return Image.fromarray(np.clip(pixels + chance.normal(0, 5, pixels.shape), 0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sets") / "cells"
    for kind in ("large", "small"):
        (folder / kind).mkdir(parents=True)
        for index in range(12):
            _cell(index + 100 * (kind == "large")).save(folder / kind / f"{index}.png")
    return folder


def _drawn(folder: Path, count: int = 12) -> list[np.ndarray]:
    files = [
        file for file in sorted(folder.rglob("*.*")) if file.suffix in (".png", ".jpg") and "mask" not in file.stem
    ]
    if not files:
        pytest.skip(f"no images at {folder}")
    return [np.asarray(Image.open(file).convert("RGB")) for file in files[:: max(1, len(files) // count)][:count]]


KNOWN = [("BUSI", True), ("BUS-BRA", True), ("BrEaST", True), ("Herlev", False), ("MIAS", False)]


@pytest.mark.parametrize(
    ("name", "known"),
    [pytest.param(*case, marks=() if case[0] in ("BUSI", "MIAS") else pytest.mark.slow) for case in KNOWN],
)
def test_the_shipped_network_knows_breast_ultrasound_and_nothing_else(name: str, known: bool) -> None:
    images = _drawn(DATA / name, 15)
    share = known_share(images)
    if known:
        assert share >= LEAST_KNOWN
        assert choose_space(images, name, "--features") == "bundle"
    else:
        assert share < LEAST_KNOWN
        with pytest.raises(SonoforgeError, match=f"{name}: no feature space suits"):
            choose_space(images, name, "--features")


def test_the_share_is_that_of_the_trust_that_classify_shows(tmp_path: Path) -> None:
    """Counted again from the answers of single files."""
    images = [np.repeat(image.pixels[..., None], 3, 2) for image in generate_phantom_set(6, 3)]
    images += [np.asarray(_cell(seed)) for seed in range(2)]
    trusted = 0
    for index, pixels in enumerate(images):
        Image.fromarray(pixels).save(tmp_path / f"{index}.png")
        trusted += Classifier().classify(tmp_path / f"{index}.png").trust.in_distribution
    assert 0 < trusted < len(images)
    assert known_share(images) == pytest.approx(trusted / len(images))


def test_downloaded_imagenet_weights_are_taken_and_said_aloud(hub: Path, caplog: pytest.LogCaptureFixture) -> None:
    images = [np.asarray(_cell(seed)) for seed in range(5)]
    (hub / WEIGHTS).touch()
    with caplog.at_level(logging.INFO):
        assert choose_space(images, "cells", "--features") == "mobilenetv2-imagenet"
    assert (
        "feature space: mobilenetv2-imagenet, since the shipped network learned from breast ultrasound" in caplog.text
    )


def test_evaluate_asks_for_a_space_where_the_images_are_no_breast_ultrasound(cells: Path, tmp_path: Path) -> None:
    command = ["evaluate", cells / "large", cells / "small", *FAST, "--image-size", "64"]
    command += ["--set", f"cache.folder={tmp_path / 'cache'}"]
    line = refused(*command, "--out", tmp_path / "runs")
    assert "large: no feature space suits" in line
    for choice in ("--features mobilenetv2-imagenet", "inception", "bundle:PATH", "pixels", "bundle anyway"):
        assert choice in line
    assert not (tmp_path / "runs").exists()
    chosen = succeed(*command, "--features", "bundle", "--out", tmp_path / "runs").json
    assert chosen["protocol"]["spaces"][0]["space"] == "bundle"
    assert "--set metrics.weights: requires --features" in refused(*command, "--set", "metrics.weights=w.safetensors")


def test_gan_train_measures_other_images_in_a_neutral_space_and_evaluate_does_as_it_did(
    cells: Path, tmp_path: Path
) -> None:
    out = ["--out", tmp_path / "runs", "--set", f"cache.folder={tmp_path / 'cache'}"]
    neutral = succeed("gan", "train", "--data", cells, "--class", "large", *SMALL, *out)
    assert neutral.json["settings"]["metric_features"].startswith("pixels")
    assert "mobilenetv2-imagenet" in neutral.err
    measured = succeed("evaluate", neutral.json["run"], *FAST, *out).json
    assert [space["space"] for space in measured["protocol"]["spaces"]] == ["pixels"]
