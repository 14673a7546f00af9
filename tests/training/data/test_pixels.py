"""Pixels: sizes, channels, and the unit range."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from gan_trainings import draw_discs
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.data.pixels import choose_channels, prepare_images, to_pixels, to_tensor, to_unit


def test_pixels_survive_the_round_trip_through_the_unit_range() -> None:
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    unit = to_unit(to_tensor(pixels))
    assert (float(unit.min()), float(unit.max())) == (-1.0, 1.0)
    assert np.array_equal(to_pixels(unit), pixels)


def test_auto_channels_is_one_from_ninety_percent_grey(caplog: pytest.LogCaptureFixture) -> None:
    images = np.repeat(draw_discs(10), 3, axis=3)
    assert choose_channels(images, "auto") == 1
    images[0, 0, 0] = (255, 0, 0)
    assert choose_channels(images, "auto") == 1
    with caplog.at_level(logging.INFO):
        assert prepare_images(images, 16, 1).shape == (10, 16, 16, 1)
    assert "1 of 10 images are in colour" in caplog.text
    images[1, 0, 0] = (255, 0, 0)
    assert choose_channels(images, "auto") == 3
    assert choose_channels(images, "1") == 1


def test_resizing_averages_over_the_area() -> None:
    stripes = np.zeros((1, 64, 64, 1), np.uint8)
    stripes[:, :, ::2] = 200
    inside = prepare_images(stripes, 16, 3)[:, :, 1:-1].astype(int)  # at the border the filter is one-sided
    assert np.abs(inside - 100).max() <= 1


@pytest.mark.parametrize(
    "images", [np.zeros((2, 8, 8), np.uint8), np.zeros((2, 8, 8, 3)), np.zeros((0, 8, 8, 1), np.uint8)]
)
def test_arrays_that_are_no_images_are_refused(images: np.ndarray) -> None:
    with pytest.raises(SonoforgeError, match="images: "):
        prepare_images(images, 16, 1)
