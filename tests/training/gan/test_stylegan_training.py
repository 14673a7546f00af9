"""The StyleGANs in the training loop: running averages, blur, limits."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from gan_trainings import read_rows
from sonoforge.models.stylegan.stylegan3 import Generator, GeneratorSettings
from sonoforge.training.evaluation.spaces import open_space
from sonoforge.training.gan import ada
from sonoforge.training.gan import checkpoint as gan_checkpoint
from sonoforge.training.gan import state as gan_state
from sonoforge.training.gan.augmentations import blur, blur_sigma
from sonoforge.training.gan.engine import train_gan
from sonoforge.training.gan.generator import load_generator
from sonoforge.training.gan.options import GanSettings
from sonoforge.training.gan.state import update_average
from sonoforge.training.gan.training import Pretrained, prepare
from sonoforge.training.gan.training_set import make_training_set
from tiny_recipes import tiny_recipes

SIDE = 32


SETTINGS = GanSettings(image_size=SIDE, width=8, batch=4, steps=6, tick_steps=2, seed=5, class_name="malignant")


@pytest.fixture(scope="module", autouse=True)
def _tiny_recipes() -> Iterator[None]:
    with tiny_recipes():
        yield


def _settings(recipe: str, **changes: Any) -> GanSettings:
    settings = dataclasses.replace(SETTINGS, recipe=recipe, regularisers="r1=1:2")
    return dataclasses.replace(settings, **changes)


def _images(count: int = 12) -> np.ndarray:
    """Noisy discs of random place and size, dark and bright in turns: (N, S, S, 1) uint8."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIDE, :SIDE]
    discs = []
    for index in range(count):
        centre, radius = rng.uniform(0.3, 0.7, 2) * SIDE, rng.uniform(4, 10)
        inside = (y - centre[0]) ** 2 + (x - centre[1]) ** 2 < radius**2
        discs.append(np.where(inside, 220, 150) - 110 * (index % 2) + rng.normal(0, 10, (SIDE, SIDE)))
    return np.stack(discs).clip(0, 255).astype(np.uint8)[..., None]


def _train(settings: GanSettings, folder: Path, count: int = 12) -> Path:
    images = make_training_set(_images(count), None, (settings.class_name,), SIDE, settings.channels)
    space = open_space("pixels") if settings.metrics else None
    return train_gan(prepare(settings, images, "cpu", Pretrained(space=space)), folder)


def test_running_averages_are_copied_into_the_averaged_generator_and_weights_blended() -> None:
    average, network = (
        Generator(GeneratorSettings(32, 1, 4, style_size=4, layers=4, channel_base=64, channel_max=4)) for _ in range(2)
    )
    network.mapping.average.fill_(4.0)
    network.synthesis.layers[1].magnitude.fill_(9.0)  # type: ignore[operator]
    expected = average.synthesis.layers[1].weight.lerp(network.synthesis.layers[1].weight, 0.25)
    update_average(average, network, 0.75)
    assert average.mapping.average.tolist() == [4.0] * 4
    assert float(average.synthesis.layers[1].magnitude) == 9.0  # type: ignore[arg-type]
    torch.testing.assert_close(average.synthesis.layers[1].weight, expected)


def test_magnitudes_remember_20000_images(tmp_path: Path) -> None:
    checkpoint = _train(_settings("stylegan3-t", steps=1, augmentation="none"), tmp_path)
    decay = gan_checkpoint.describe(checkpoint).generator_options["magnitude_decay"]
    assert decay ** (20_000 / 4) == pytest.approx(0.5)
    generator: Any = load_generator(checkpoint)
    assert generator.synthesis.layers[0].magnitude_decay == decay


def test_the_blur_fades_and_is_a_gaussian() -> None:
    assert [blur_sigma(images, 1000) for images in (0, 500, 1000, 5000)] == [10.0, 5.0, 0.0, 0.0]
    assert blur_sigma(0, 0) == 0.0
    image = torch.rand(1, 1, 48, 48, generator=torch.Generator().manual_seed(0))
    expected = gaussian_filter(image[0, 0].numpy(), 2.0, mode="mirror", radius=6)
    assert blur(image, 2.0)[0, 0].numpy() == pytest.approx(expected, abs=1e-5)
    assert blur(image, 0.2) is image
    assert float(blur(image, 10.0).std()) < 0.02  # wider than the image allows: cut off at its side


@pytest.mark.parametrize(("recipe", "precision"), [("stylegan2", "bf16"), ("stylegan3-t", "fp32")])
def test_full_augmentation_and_a_batch_of_2_stay_finite(
    recipe: str, precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gan_state, "ADAPTIVE_START", {**ada.START, "strength": 1.0})
    changes = {"batch": 2, "precision": precision, "augmentation": "ada", "steps": 12, "tick_steps": 6}
    regularisers = "r1=10:16,path-length=2:4" if recipe == "stylegan2" else "r1=10:16"
    _train(_settings(recipe, regularisers=regularisers, **changes), tmp_path, count=34)
    rows = read_rows(tmp_path)
    assert rows[-1]["images"] == 24 and rows[-1]["strength"] > 0.99
    assert all(math.isfinite(value) for row in rows for value in row.values() if isinstance(value, int | float))
    assert all(row["generator_gradient"] is not None for row in rows)
