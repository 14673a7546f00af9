"""The flatness of grain against a plain loop, and what must and must not move it."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from sonoforge.runtime.images.scan_checks import flatness

SIDE = 40


def speckle(wide: float, deep: float, seed: int = 0) -> NDArray[np.uint8]:
    """Smoothed complex noise: speckle whose grain has these sizes (standard deviations, pixels)."""
    rng = np.random.default_rng(seed)
    real, imaginary = (gaussian_filter(rng.normal(size=(SIDE, SIDE)), (deep, wide)) for _ in range(2))
    level = np.hypot(real, imaginary)
    return np.clip(90 * level / level.mean(), 0, 255).astype(np.uint8)[:, :, None].repeat(3, axis=2)


def by_loop(pixels: NDArray[np.uint8]) -> float:
    grey = pixels.astype(float).mean(axis=2)
    rest = np.empty_like(grey)
    for row, column in np.ndindex(grey.shape):
        rows = np.clip(np.arange(row - 4, row + 5), 0, len(grey) - 1)
        columns = np.clip(np.arange(column - 4, column + 5), 0, len(grey) - 1)
        rest[row, column] = grey[row, column] - grey[np.ix_(rows, columns)].mean()
    across = np.mean([a * b for line in rest for a, b in pairwise(line)])
    along = np.mean([a * b for line in rest.T for a, b in pairwise(line)])
    return float((across - along) / (np.mean(rest**2) + 1e-3))


def test_it_is_the_difference_of_correlations() -> None:
    rng = np.random.default_rng(1)
    pictures = np.stack([speckle(2, 1), speckle(1, 1), rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8)])
    assert flatness(pictures) == pytest.approx([by_loop(picture) for picture in pictures])


def test_flat_speckle_is_told_from_round_and_deep_grain() -> None:
    flat, round_, deep = flatness(np.stack([speckle(2, 0.7), speckle(1.2, 1.2), speckle(0.7, 2)]))
    assert flat > 0.2
    assert abs(round_) < 0.1
    assert deep < -0.2


def test_turning_over_mirroring_inverting_and_gain_leave_it_and_a_quarter_turn_reverses_it() -> None:
    picture = speckle(2, 1)
    (own,) = flatness(picture[None])
    same = np.stack([picture[::-1], picture[:, ::-1], 255 - picture])
    assert flatness(same) == pytest.approx([own] * 3)
    assert flatness((picture // 2)[None])[0] == pytest.approx(own, abs=0.01)
    assert flatness(picture.swapaxes(0, 1)[None])[0] == pytest.approx(-own)


def test_a_picture_of_one_level_has_no_grain() -> None:
    assert flatness(np.full((2, SIDE, SIDE, 3), 77, np.uint8)).tolist() == [0.0, 0.0]
