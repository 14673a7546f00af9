"""How the probe was held, against planted shapes; grain, against a plain loop; coloured pixels, counted by hand."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from sonoforge.runtime.images.scan_checks import ROWS, coloured_share, dark_columns, flatness, profile, upright_score

SIDE = 40


def fading(size: int = 224) -> np.ndarray:
    """Return a picture that is bright at the top and fades with depth."""
    rows = np.linspace(200, 20, size)[:, None, None]
    return np.broadcast_to(rows, (size, size, 3)).astype(np.uint8)[None]


@pytest.mark.parametrize("size", [224, 64, 65])
def test_profile_is_the_bands_less_their_mirror(size: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, size, size, 3)).astype(np.uint8)
    found = profile(pixels)
    for image, own in zip(pixels.astype(float), found, strict=True):
        bands = [image[i * size // ROWS : (i + 1) * size // ROWS].mean() for i in range(ROWS)]
        relative = [band / (1 + sum(bands) / ROWS) for band in bands]
        assert own == pytest.approx([relative[i] - relative[ROWS - 1 - i] for i in range(ROWS)])


def test_turning_a_scan_turns_its_score() -> None:
    weights = np.linspace(1, -1, ROWS).tolist()
    upright, turned = upright_score(fading(), weights), upright_score(fading()[:, ::-1], weights)
    assert upright > 0
    assert turned == pytest.approx(-upright)
    assert upright_score(fading()[:, :, ::-1], weights) == pytest.approx(upright)
    assert upright_score(np.zeros((1, 224, 224, 3), np.uint8), weights) == 0


def test_columns_without_echo_are_counted_below_the_near_field() -> None:
    pixels = fading().copy()
    assert dark_columns(pixels) == 0
    pixels[:, 56:, :56] = 5
    assert dark_columns(pixels) == pytest.approx(0.25)
    pixels[:, 56:] = 5  # the near field still shines
    assert dark_columns(pixels) == 1


def test_pixels_whose_channels_differ_by_more_than_24_levels_are_coloured() -> None:
    pixels = np.full((2, 10, 10, 3), 200, np.uint8)
    pixels[0, :3, :, 2] = 175  # 25 apart, in 30 pixels
    pixels[0, 5, :, 0] = 224  # 24 apart
    assert np.allclose(coloured_share(pixels), [0.3, 0.0])


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


def test_flatness_is_the_difference_of_correlations() -> None:
    rng = np.random.default_rng(1)
    pictures = np.stack([speckle(2, 1), speckle(1, 1), rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8)])
    assert flatness(pictures) == pytest.approx([by_loop(picture) for picture in pictures])


def test_flat_speckle_is_told_from_round_and_deep_grain() -> None:
    flat, round_, deep = flatness(np.stack([speckle(2, 0.7), speckle(1.2, 1.2), speckle(0.7, 2)]))
    assert flat > 0.2
    assert abs(round_) < 0.1
    assert deep < -0.2


def test_turning_over_mirroring_inverting_and_gain_leave_flatness_and_a_quarter_turn_reverses_it() -> None:
    picture = speckle(2, 1)
    (own,) = flatness(picture[None])
    same = np.stack([picture[::-1], picture[:, ::-1], 255 - picture])
    assert flatness(same) == pytest.approx([own] * 3)
    assert flatness((picture // 2)[None])[0] == pytest.approx(own, abs=0.01)
    assert flatness(picture.swapaxes(0, 1)[None])[0] == pytest.approx(-own)


def test_a_picture_of_one_level_has_no_grain() -> None:
    assert flatness(np.full((2, SIDE, SIDE, 3), 77, np.uint8)).tolist() == [0.0, 0.0]
