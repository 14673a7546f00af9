"""How the probe was held, against planted shapes; the share of coloured pixels, counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from sonoforge.runtime.images.scan_checks import ROWS, coloured_share, dark_columns, profile, upright_score


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
