"""Pictures inside a page, as ``data:`` URLs: small, and grey where they are grey."""

import base64
import io
from pathlib import Path

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

_QUALITY = 82


def embed(picture: Image.Image | Path | io.BytesIO, side: int, alt: str) -> Markup:
    """Return a picture, or that of a file, reduced to at most ``side`` pixels and encoded as JPEG, as an element."""
    if not isinstance(picture, Image.Image):
        with Image.open(picture) as opened:
            return embed(opened, side, alt)
    small = picture.convert("RGB")
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    pixels: NDArray[np.uint8] = np.asarray(small)
    if (pixels == pixels[..., :1]).all():
        pixels = pixels[..., 0]
    element = Markup('<img src="{}" width="{}" height="{}" alt="{}">')
    return element.format(data_url(Image.fromarray(pixels), "jpeg"), small.width, small.height, alt)


def data_url(picture: Image.Image, kind: str) -> str:
    """Encode a picture as ``jpeg`` or ``png``, and return it as an address."""
    stream = io.BytesIO()
    picture.save(stream, kind, quality=_QUALITY, optimize=True)  # PNG is lossless, and has no quality
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"
