"""The small grey pictures by which near-duplicates are found; apart from that search, so that it needs no SciPy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 64

Thumbnails = NDArray[np.uint8]  # (N, SIDE, SIDE)


def make_thumbnail(image: Image.Image) -> NDArray[np.uint8]:
    """Shrink an image to (SIDE, SIDE) grey, averaging over areas."""
    return np.asarray(image.convert("L").resize((SIDE, SIDE), Image.Resampling.BILINEAR))
