"""Whether the grain of a picture is wider than deep, as the speckle of ultrasound is.

A beam resolves worse across than along itself, so each grain of speckle lies flat (Wagner et al., Statistics of speckle
in ultrasound B-scans, IEEE Trans. Sonics Ultrason. 30 (1983): the lateral against the axial correlation length).  The
grain of photographs, of other modalities and of noise is as deep as wide, or deeper.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_WINDOW = 9
"""Side in pixels of the square whose mean is taken away: some grains of speckle in a view of 224 pixels."""
_LEAST_VARIANCE = 1e-3
"""In squared grey levels: keeps a picture of one level at 0."""


def flatness(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return (N,) by how much the grain is wider than deep, of the network's views (N, S, S, 3) uint8.

    Within -2 to 2: the correlation of neighbours across less that of neighbours along the depth, of the grey levels
    (mean of the colours) less their mean in the surrounding square of 9 x 9 pixels, the border continued outwards.
    0 for a picture of one level.
    """
    return np.array([_flatness(image.sum(axis=2, dtype=np.int64)) for image in pixels], dtype=np.float64)


def _flatness(levels: NDArray[np.int64]) -> float:
    """See `flatness`, of the sums of the colours (S, S)."""
    half = _WINDOW // 2
    sums = np.pad(np.pad(levels, half, mode="edge").cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    inside = (
        sums[_WINDOW:, _WINDOW:] - sums[:-_WINDOW, _WINDOW:] - sums[_WINDOW:, :-_WINDOW] + sums[:-_WINDOW, :-_WINDOW]
    )
    grain = (levels - inside / _WINDOW**2) / 3
    variance = np.square(grain).mean() + _LEAST_VARIANCE
    across, along = (grain[:, 1:] * grain[:, :-1]).mean(), (grain[1:] * grain[:-1]).mean()
    return float((across - along) / variance)
