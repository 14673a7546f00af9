"""Pictures inside a page, as ``data:`` URLs: small, and grey where they are grey."""

from __future__ import annotations

import base64
import io
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

QUALITY = 82


class Picture(NamedTuple):
    """A picture ready for ``<img>``."""

    source: str
    width: int
    height: int
    alt: str


def embed(image: Image.Image, side: int, alt: str) -> Picture:
    """Reduce a picture to at most ``side`` pixels and encode it as JPEG."""
    small = image.convert("RGB")
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    pixels: NDArray[np.uint8] = np.asarray(small)
    if (pixels == pixels[..., :1]).all():
        pixels = pixels[..., 0]
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=QUALITY, optimize=True)
    return Picture(data_url(stream.getvalue(), "jpeg"), small.width, small.height, alt)


def data_url(content: bytes, kind: str) -> str:
    """Return an image file's content, of kind ``jpeg`` or ``png``, as an address."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
