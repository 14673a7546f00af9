"""How well a lesion can be told from its surround, by a mask."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

_BINS = 32  # of the histograms, 8 grey levels each: fine enough for the display, filled by a small lesion
_FEWEST = 64  # pixels of either part, two to a bin


def gcnr(levels: NDArray[np.uint8], mask: NDArray[np.bool_]) -> float:
    """Measure gCNR of a masked area against the tissue round it.

    The surround is what the mask's bounding box, widened by half its width left and right and by half its height above
    and below, holds besides the mask; at the picture's edge it ends.

    Examples:
        >>> import numpy as np
        >>> levels = np.full((60, 80), 200, np.uint8)
        >>> mask = np.zeros((60, 80), bool)
        >>> mask[20:40, 30:50] = True
        >>> levels[mask] = 40
        >>> gcnr(levels, mask)
        1.0

    Args:
        levels: (H, W) uint8.
        mask: (H, W), True where the lesion is.

    Returns:
        1 minus the overlap of the two histograms, 0 to 1 (Rodriguez-Molares et al. 2020, equation 5);
        NaN where the lesion or its surround has fewer than 64 pixels.

    Raises:
        ValueError: The mask has another shape.
    """
    if mask.shape != levels.shape:
        raise ValueError(f"mask: found shape {mask.shape}, expected {levels.shape}")
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return math.nan
    tall, wide = (int(rows[-1] - rows[0]) + 1) // 2, (int(columns[-1] - columns[0]) + 1) // 2
    near = np.s_[max(0, rows[0] - tall) : rows[-1] + 1 + tall, max(0, columns[0] - wide) : columns[-1] + 1 + wide]
    lesion, surround = levels[near][mask[near]], levels[near][~mask[near]]
    if min(len(lesion), len(surround)) < _FEWEST:
        return math.nan
    shares = [np.bincount(part // (256 // _BINS), minlength=_BINS) / len(part) for part in (lesion, surround)]
    return 1 - float(np.minimum(shares[0], shares[1]).sum())
