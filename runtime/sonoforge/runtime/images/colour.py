"""How much of a picture is coloured: a B-mode scan is grey but for marks, photographs and stained cells are not."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_LEAST = 24
"""Smallest difference between a pixel's brightest and darkest channel, in grey levels, that counts as colour."""


def coloured_share(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the share (N,), 0..1, of a view (N, S, S, 3) uint8 whose channels differ by more than 24 levels."""
    spread = pixels.max(axis=3) - pixels.min(axis=3)
    found: NDArray[np.float64] = (spread > _LEAST).mean(axis=(1, 2))
    return found
