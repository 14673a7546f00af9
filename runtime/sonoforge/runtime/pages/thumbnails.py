"""Small pictures inside a page, as ``data:`` addresses: a scan, and where the evidence for its answer lies."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from PIL import Image

from sonoforge.runtime.explanations.overlay import painted
from sonoforge.runtime.images.decoding import as_image
from sonoforge.runtime.inference.result import Result

SIDE = 224
"""Pixels of the longer side: the network sees no more."""
_QUALITY = 82
_GROUND = 96  # grey level under a map without its scan


def thumbnails(scan: Path | str | Image.Image, result: Result) -> list[str]:
    """Return the addresses of a scan and of its heat map over it."""
    image = as_image(scan)
    return [address(image), address(painted(image, result))]


def map_alone(result: Result) -> list[str]:
    """Return the address of the heat map over even grey: nothing of the scan, which may bear a name in its pixels."""
    return [address(painted(Image.new("L", result.size, _GROUND), result))]


def address(image: Image.Image) -> str:
    """Return the address of a small copy of a picture, without anything else that its file says."""
    small = image if image.mode == "L" else image.convert("RGB")
    small = small.copy()
    small.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    small.info.clear()  # no profile, date or comment of the file
    stream = io.BytesIO()
    small.save(stream, "JPEG", quality=_QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"
