"""The share of coloured pixels, counted by hand."""

from __future__ import annotations

import numpy as np

from sonoforge.runtime.images.colour import coloured_share


def test_pixels_whose_channels_differ_by_more_than_24_levels_are_coloured() -> None:
    pixels = np.full((2, 10, 10, 3), 200, np.uint8)
    pixels[0, :3, :, 2] = 175  # 25 apart, in 30 pixels
    pixels[0, 5, :, 0] = 224  # 24 apart
    assert np.allclose(coloured_share(pixels), [0.3, 0.0])
