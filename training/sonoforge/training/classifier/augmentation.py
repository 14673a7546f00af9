"""Random changes of a training image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

Pixels = NDArray[np.uint8]
VARIANTS = {"none": 1, "flip": 2, "classical": 6}
"""Kinds of augmentation, and how many variants of an image are cached where blocks are frozen."""


def augment(pixels: Pixels, kind: str, rng: np.random.Generator) -> Pixels:
    """Return a randomly changed copy of one image, uint8 (S, S, 3).

    ``classical`` flips left-right, zooms by 0.85..1.15, shifts by up to 8 % and changes brightness and
    contrast by up to 15 %; never up-down, because shadow and enhancement lie below a lesion.
    """
    flip = bool(rng.random() < 0.5)
    if kind == "none":
        return pixels
    if kind == "flip":
        return pixels[:, ::-1] if flip else pixels
    side = pixels.shape[0]
    zoom = rng.uniform(0.85, 1.15)
    shift_x, shift_y = rng.uniform(-0.08, 0.08, 2) * side
    sign = -1.0 if flip else 1.0
    centre = (side - 1) / 2
    # Pillow maps output (x, y) to input (a x + b y + c, d x + e y + f).
    across = (sign / zoom, 0.0, centre - sign * centre / zoom + shift_x)
    down = (0.0, 1 / zoom, centre - centre / zoom + shift_y)
    image = Image.fromarray(pixels).transform(
        (side, side), Image.Transform.AFFINE, across + down, Image.Resampling.BILINEAR
    )
    image = ImageEnhance.Brightness(image).enhance(rng.uniform(0.85, 1.15))
    image = ImageEnhance.Contrast(image).enhance(rng.uniform(0.85, 1.15))
    return np.asarray(image)
