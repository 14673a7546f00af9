"""The picture that copies are looked for in: grey, its longest side `SIDE` pixels, its shape kept."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE = 256

Picture = NDArray[np.uint8]  # (H, W) grey


def fit(picture: Picture) -> Picture:
    """Scale a grey (H, W) uint8 picture to a longest side of `SIDE` pixels, down by area and up by cubics."""
    height, width = picture.shape
    scale = SIDE / max(height, width)
    if scale == 1:
        return np.ascontiguousarray(picture)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    fitted: Picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    return fitted
