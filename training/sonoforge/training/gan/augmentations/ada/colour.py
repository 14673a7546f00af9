"""ADA's colour transformations (Karras 2020, appendix B.1, figure 20).

There they are 4x4 matrices, multiplied in the order of `Colour`.  With v = (1, 1, 1) / sqrt 3 and the parts of a
pixel along v (luma: the mean of its channels) and across it (chroma), the product is simply

    luma   <- contrast (luma + brightness), negated by a luma flip
    chroma <- contrast saturation, rotated by the hue's angle about v

because each of the five acts on luma and chroma separately.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from torch import Tensor


class Colour(NamedTuple):
    """What is drawn for each of N images, in order of application."""

    brightness: Tensor  # (N,) added to each channel
    contrast: Tensor  # (N,) above 0, a factor
    luma_flip: Tensor  # (N,) 1 mirrors colours at the plane where luma is 0, 0 does not
    hue: Tensor  # (N,) radians
    saturation: Tensor  # (N,) at least 0, a factor


def recolour(images: Tensor, drawn: Colour) -> Tensor:
    """Change the colours of images (N, C, S, S) in [-1, 1], C = 1 or 3; grey ones have only luma (authors' code).

    Raises:
        ValueError: Another number of channels.
    """
    if images.shape[1] not in (1, 3):
        raise ValueError(f"colour: found {images.shape[1]} image channels, expected 1 or 3")
    brightness, contrast, luma_flip, hue, saturation = (value[:, None, None, None] for value in drawn)
    luma = images.mean(1, keepdim=True)
    luma_gain = contrast * (1 - 2 * luma_flip)
    chroma_gain = contrast * saturation
    along, across = chroma_gain * hue.cos(), chroma_gain * hue.sin()
    # v x image: chroma turned by a right angle; zero for a grey image.
    turned = (images.roll(1, 1) - images.roll(-1, 1)) / math.sqrt(3)
    # The image stands for its chroma, so that neutral draws give back the image bit for bit.
    return along * images + (luma_gain - along) * luma + luma_gain * brightness + across * turned
