"""How the probe was held, from the brightness of rows and columns: upside down, or not touching the skin.

Sound is strongest at the skin and is lost with depth, so a scan is brighter at the top; where the probe does not touch
the skin, nothing comes back from below.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

ROWS = 28
"""Bands of rows that the brightness is averaged in, from top to bottom."""
DARK = 12
"""Grey level under which the mean of a column counts as without echo; 5, 8 and 16 told as well on BUSI."""
NEAR_FIELD = 0.25
"""Share of the depth, from the top, that a column is not judged by: it shines without contact, too."""


def profile(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the brightness of bands of rows, less that of the same bands from below.

    Args:
        pixels: (N, S, S, C) uint8, the network's view of each image; one channel stands for three that are equal.

    Returns:
        (N, `ROWS`): p - reversed(p), with p the mean of band i (rows ``floor(i S / ROWS)`` up to the next) over its
        columns and colours, divided by 1 plus the mean of all bands.
    """
    # Whole numbers are added exactly, and faster than floats.
    rows = pixels.reshape(*pixels.shape[:2], -1).sum(axis=2, dtype=np.uint32)
    starts = np.arange(ROWS + 1) * rows.shape[1] // ROWS
    bands = np.add.reduceat(rows, starts[:-1], axis=1) / (np.diff(starts) * pixels[0, 0].size)
    relative = bands / (1 + bands.mean(axis=1, keepdims=True))
    turned: NDArray[np.float64] = relative - relative[:, ::-1]
    return turned


def upright_score(pixels: NDArray[np.uint8], weights: Sequence[float]) -> NDArray[np.float64]:
    """Return ``profile . weights`` (N,): about 1 for an upright scan, and the negative of it for the same scan turned.

    Below 0 an image is more like the training images upside down.
    """
    score: NDArray[np.float64] = profile(pixels) @ np.asarray(weights, dtype=np.float64)
    return score


def dark_columns(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the share (N,) of columns of (N, S, S, C) whose mean below the `NEAR_FIELD` is less than `DARK`."""
    first = round(NEAR_FIELD * pixels.shape[1])
    judged = pixels[:, first:]
    sums = judged.sum(axis=1, dtype=np.uint32).sum(axis=2)
    share: NDArray[np.float64] = (sums < DARK * judged.shape[3] * judged.shape[1]).mean(axis=1)
    return share
