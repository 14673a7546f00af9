"""More images of the same kind where there are too few: each one several times, mildly and always equally changed."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# Mild, as between two frames of one examination: a label that such a change turns was a near tie before.
SHIFT = 0.02  # of a side at most
GAIN = 0.05  # brighter or darker at most
_GOLDEN = (0.7548776662466927, 0.5698402909980532, 0.618033988749895)  # steps that fill a cube evenly (Roberts 2018)

DESCRIPTION = f"mirrored, shifted by up to {SHIFT:.0%}, brighter or darker by up to {GAIN:.0%}, and as they are"


class Variant(NamedTuple):
    """A change of an image."""

    mirrored: bool
    right: float  # shift as a share of the width
    down: float  # shift as a share of the height
    gain: float


def list_variants(count: int) -> list[Variant]:
    """Return the first so many changes, of which the first is none; the same ones for the same number, always."""
    found = [Variant(False, 0.0, 0.0, 1.0)]
    for index in range(1, count):
        right, down, gain = (2 * ((0.5 + index * step) % 1) - 1 for step in _GOLDEN)
        found.append(Variant(index % 2 == 1, SHIFT * right, SHIFT * down, 1 + GAIN * gain))
    return found


def vary(pixels: NDArray[np.uint8], variant: Variant) -> NDArray[np.uint8]:
    """Change an image (H, W) or (H, W, C); what a shift uncovers repeats the border."""
    if variant.mirrored:
        pixels = pixels[:, ::-1]
    rows, columns = (
        np.clip(np.arange(side) - round(share * side), 0, side - 1)
        for side, share in zip(pixels.shape, (variant.down, variant.right), strict=False)
    )
    moved = pixels[rows][:, columns]
    changed: NDArray[np.uint8] = np.clip(np.round(moved * variant.gain), 0, 255).astype(np.uint8)
    return changed
