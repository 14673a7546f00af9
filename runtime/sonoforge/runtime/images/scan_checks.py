"""What the network's view shows of a picture beside its quality: how the probe was held, its grain, and its colour.

Pose: sound is strongest at the skin and is lost with depth, so a scan is brighter at the top; where the probe does not
touch the skin, nothing comes back from below.

Grain: a beam resolves worse across than along itself, so each grain of speckle lies flat (Wagner et al., Statistics of
speckle in ultrasound B-scans, IEEE Trans. Sonics Ultrason. 30 (1983): the lateral against the axial correlation
length).  The grain of photographs, of other modalities and of noise is as deep as wide, or deeper.

Colour: a B-mode scan is grey but for marks, photographs and stained cells are not.
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
_GRAIN_WINDOW = 9
"""Side in pixels of the square whose mean is taken away: some grains of speckle in a view of 224 pixels."""
_LEAST_VARIANCE = 1e-3
"""In squared grey levels: keeps a picture of one level at 0."""
_LEAST_COLOUR = 24
"""Smallest difference between a pixel's brightest and darkest channel, in grey levels, that counts as colour."""


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
    return np.asarray(relative - relative[:, ::-1])


def upright_score(pixels: NDArray[np.uint8], weights: Sequence[float]) -> NDArray[np.float64]:
    """Return ``profile . weights`` (N,): about 1 for an upright scan, and the negative of it for the same scan turned.

    Below 0 an image is more like the training images upside down.
    """
    return np.asarray(profile(pixels) @ np.asarray(weights, dtype=np.float64))


def dark_columns(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the share (N,) of columns of (N, S, S, C) whose mean below the `NEAR_FIELD` is less than `DARK`."""
    first = round(NEAR_FIELD * pixels.shape[1])
    judged = pixels[:, first:]
    sums = judged.sum(axis=1, dtype=np.uint32).sum(axis=2)
    return np.asarray((sums < DARK * judged.shape[3] * judged.shape[1]).mean(axis=1))


def flatness(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return (N,) by how much the grain is wider than deep, of the network's views (N, S, S, C) uint8.

    Within -2 to 2: the correlation of neighbours across less that of neighbours along the depth, of the grey levels
    (mean of the colours) less their mean in the surrounding square of 9 x 9 pixels, the border continued outwards.
    0 for a picture of one level.  One channel stands for three that are equal.
    """
    times = 3 // pixels.shape[3]
    return np.array([_image_flatness(times * image.sum(axis=2, dtype=np.int32)) for image in pixels], dtype=np.float64)


def _image_flatness(levels: NDArray[np.int32]) -> float:
    """See `flatness`, of the sums of the colours (S, S)."""
    half = _GRAIN_WINDOW // 2
    padded = np.pad(levels, half, mode="edge")
    # Of views up to 1600 pixels a side 32 bits hold all sums; beyond, they wrap around and their differences do not.
    sums = np.pad(padded.cumsum(axis=0, dtype=np.int32).cumsum(axis=1, dtype=np.int32), ((1, 0), (1, 0)))
    inside = (
        sums[_GRAIN_WINDOW:, _GRAIN_WINDOW:]
        - sums[:-_GRAIN_WINDOW, _GRAIN_WINDOW:]
        - sums[_GRAIN_WINDOW:, :-_GRAIN_WINDOW]
        + sums[:-_GRAIN_WINDOW, :-_GRAIN_WINDOW]
    )
    grain = (levels - inside / _GRAIN_WINDOW**2) / 3
    variance = np.square(grain).mean() + _LEAST_VARIANCE
    across, along = (grain[:, 1:] * grain[:, :-1]).mean(), (grain[1:] * grain[:-1]).mean()
    return float((across - along) / variance)


def coloured_share(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the share (N,), 0..1, of a view (N, S, S, C) uint8 whose channels differ by more than 24 levels.

    C is 3, or 1 of a grey view, which has no colour.
    """
    if pixels.shape[-1] == 1:
        return np.zeros(len(pixels))
    channels = np.moveaxis(pixels, -1, 0)
    high, low = channels[0], channels[0]
    for channel in channels[1:]:
        high, low = np.maximum(high, channel), np.minimum(low, channel)
    return np.asarray(((high - low) > _LEAST_COLOUR).mean(axis=(1, 2)))
