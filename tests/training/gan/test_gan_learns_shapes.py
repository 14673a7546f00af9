"""BigGAN and SPADE learn which image goes with which mask: a bright disc where the mask is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from corners import corners
from sonoforge.training.gan.engine import train_gan
from sonoforge.training.gan.generator import load_generator, sample
from sonoforge.training.gan.options import GanSettings
from sonoforge.training.gan.training import prepare
from sonoforge.training.gan.training_set import TrainingSet

SIDE = 32


def draw_discs(count: int) -> TrainingSet:
    """Discs of random place, size and level on a dark ground, with their masks."""
    chance = np.random.default_rng(0)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    pixels = np.zeros((count, SIDE, SIDE, 2), np.uint8)
    for image in pixels:
        row, column = chance.uniform(10, 22, 2)
        inside = (rows - row) ** 2 + (columns - column) ** 2 < chance.uniform(5, 9) ** 2
        image[..., 0] = np.where(inside, chance.integers(180, 220), chance.integers(30, 70))
        image[..., 1] = 255 * inside
    return TrainingSet(pixels, None, ("disc",), 1, "discs", ("mask",))


SPADE = GanSettings("spade", "small-data", width=4, batch=8, steps=36, learning_rate=0.001)
BIGGAN = GanSettings(
    "biggan", "small-data", width=4, batch=16, steps=200, learning_rate=0.002, n_critic=1, augmentation="none"
)


@pytest.mark.slow
@pytest.mark.parametrize("settings", corners([SPADE, BIGGAN], SPADE), ids=lambda settings: settings.recipe)
def test_the_image_shows_what_its_mask_says(settings: GanSettings, tmp_path: Path) -> None:
    own = replace(settings, class_name="disc", masks=True, image_size=SIDE, tick_steps=1000, seed=1)
    train_gan(prepare(own, draw_discs(200), "cpu"), tmp_path)
    made = sample(load_generator(tmp_path), 64, seed=3)
    bright, masked = made[..., 0] >= 125, made[..., 1] >= 128
    dice = 2 * (bright & masked).sum((1, 2)) / np.maximum(1, bright.sum((1, 2)) + masked.sum((1, 2)))
    print(f"{own.recipe}: Dice of a threshold at half the range {dice.mean():.3f}")
    assert dice.mean() >= 0.9
    assert masked.mean((1, 2)).std() > 0.02, "discs of one size alone"
