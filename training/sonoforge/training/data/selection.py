"""Choose images that represent many."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def evenly_spaced(count: int, most: int) -> NDArray[np.int64]:
    """Choose at most ``most`` of ``count`` images, the first and the last among them; neighbours often are alike."""
    return np.linspace(0, count - 1, min(count, most)).astype(np.int64)
