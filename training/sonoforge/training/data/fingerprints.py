"""What images are compared by: a hash of their pixels, and a small grey picture of them.

Here rather than beside the search for near-duplicates, so that reading images needs no SciPy.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 64

Thumbnails = NDArray[np.uint8]  # (N, SIDE, SIDE)


def content_hash(image: Image.Image) -> str:
    """Return the sha256 of an image's mode, size and pixels: equal for the same picture in any lossless file format."""
    digest = hashlib.sha256(f"{image.mode} {image.width}x{image.height} ".encode())
    digest.update(image.tobytes())
    return digest.hexdigest()


def make_thumbnail(image: Image.Image) -> NDArray[np.uint8]:
    """Shrink an image to (SIDE, SIDE) uint8 grey."""
    return np.asarray(image.convert("L").resize((SIDE, SIDE), Image.Resampling.BILINEAR))
