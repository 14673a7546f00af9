"""The picture that copies are looked for in: grey, its longest side `SIDE` pixels, its shape kept.

Without OpenCV and SciPy, so that reading images needs neither.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 256

Picture = NDArray[np.uint8]  # (H, W) grey


class Look(NamedTuple):
    """How a picture is looked at before it is compared."""

    mirrored: bool  # left to right
    inverted: bool  # as a negative
    upside_down: bool = False  # top to bottom; features are not looked for so: SIFT bears a half turn


def fitted_size(width: int, height: int) -> tuple[int, int]:
    """Return the width and height of a picture after `fit`, the longer one `SIDE`, none below 8."""
    scale = SIDE / max(width, height)
    return max(8, round(width * scale)), max(8, round(height * scale))


def fit(picture: Picture) -> Picture:
    """Scale a grey (H, W) uint8 picture to a longest side of `SIDE` pixels, without aliasing."""
    height, width = picture.shape
    size = fitted_size(width, height)
    if size == (width, height):
        return np.ascontiguousarray(picture)
    return np.asarray(Image.fromarray(np.ascontiguousarray(picture)).resize(size, Image.Resampling.BICUBIC))
