"""The grey levels of a picture, whatever form it has."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def grey_levels(picture: Image.Image | NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the grey levels (H, W) uint8 of a picture; colours become luma (ITU-R BT.601) as Pillow rounds it.

    Args:
        picture: A Pillow image, or an array (H, W) of grey or (H, W, 3) of red, green and blue, uint8.  What is grey
            already is not copied.
    """
    if isinstance(picture, np.ndarray):
        if picture.ndim == 2:
            return picture
        if picture.strides[2] == 0:  # one channel shown as three, of which the luma is that channel
            return picture[..., 0]
        picture = Image.fromarray(picture)
    return np.asarray(picture if picture.mode == "L" else picture.convert("L"))
