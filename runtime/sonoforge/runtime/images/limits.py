"""How large and how small an image file may be, and the error of one that cannot be used.

Large pictures are decoded one at a time whatever the number of threads, so that no file takes more than a few hundred
megabytes.
"""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from typing import Any

from sonoforge.runtime.errors import SonoforgeError

MAX_FILE_BYTES = 200_000_000
MAX_PIXELS = 50_000_000
MIN_SIDE = 16
MAX_WEBP_PIXELS = 16_000_000
"""Its decoder needs 15 bytes a pixel."""
MAX_JPEG_2000_SAMPLES = 24_000_000
"""Pixels times channels; its decoder needs an eighth of a microsecond and 7 bytes for each."""
MAX_ASPECT = 20
"""Longest side in shortest sides; a panoramic scan has about six.  Resizing a thread of pixels to a square would take
gigabytes."""

_LARGE_PIXELS = 8_000_000
_large_ones = threading.Lock()


class ImageError(SonoforgeError):
    """An image file that cannot be used.

    Attributes:
        code: ``not_found``, ``is_directory``, ``unreadable``, ``empty``, ``not_an_image``, ``truncated``,
            ``incomplete`` (of DICOM, a needed element is missing or damaged), ``too_large``, ``too_small``,
            ``too_slow``, ``animated`` or ``unsupported``.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def check_size(width: int, height: int, path: Path | str, most: int = MAX_PIXELS) -> None:
    """Refuse a picture with too many pixels, too few, or too long a shape."""
    if width * height > most:
        raise ImageError(
            "too_large",
            f"{path}: found {width}x{height} pixels, expected at most {most // 1_000_000} million; scale it down",
        )
    if min(width, height) < MIN_SIDE:
        raise ImageError("too_small", f"{path}: found {width}x{height} pixels, expected at least {MIN_SIDE} a side")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise ImageError(
            "unsupported",
            f"{path}: found {width}x{height} pixels, expected one side at most {MAX_ASPECT} times the other; crop it",
        )


def large_ones_in_turn(pixels: int) -> contextlib.AbstractContextManager[Any]:
    """Return what to hold while a picture of so many pixels is decoded: large ones are decoded one at a time."""
    return _large_ones if pixels > _LARGE_PIXELS else contextlib.nullcontext()
