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
MAX_AVIF_PIXELS = 30_000_000
"""Of AVIF and HEIC, whose decoders need 9 and 7 bytes a pixel; phones take 12 to 25 million."""
MAX_JPEG_2000_SAMPLES = 24_000_000
"""Pixels times channels; its decoder needs an eighth of a microsecond and 7 bytes for each."""
MAX_CLIP_FILE_BYTES = 4_000_000_000
"""Of DICOM and films, which are read frame by frame and not into memory."""
MAX_FRAMES = 5000
"""A minute of clip at 60 frames a second, and some."""
MAX_CLIP_PIXELS = 4_000_000_000
"""5000 frames of 1024 x 768."""
MAX_CLIP_SECONDS = 120
"""Processor time for all frames of a clip that is no DICOM; 4000 million pixels take some 40 s."""
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


def clip_refused(path: Path | str, what: str) -> ImageError:
    """Return the error of a clip where one picture is expected; ``what`` it is, such as ``a film``."""
    return ImageError(
        "animated",
        f"{path}: {what}, expected one picture; sonoforge classify answers clips, sonoforge data import frames makes "
        "pictures of them",
    )


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


def check_clip(frames: int, width: int, height: int, path: Path | str) -> None:
    """Refuse a clip without frames, or with too many."""
    if not 1 <= frames <= MAX_FRAMES or frames * width * height > MAX_CLIP_PIXELS:
        raise ImageError(
            "too_large",
            f"{path}: found {in_short(frames)} frames of {width}x{height} pixels, expected 1 to {MAX_FRAMES} frames "
            f"and at most {MAX_CLIP_PIXELS // 1_000_000} million pixels in all; cut the clip",
        )


def in_short(number: int) -> str:
    """Return a number that a file states; its length where it is a long one."""
    return str(number) if abs(number) < 10**12 else f"a number of {len(str(abs(number)))} digits"


def large_ones_in_turn(pixels: int) -> contextlib.AbstractContextManager[Any]:
    """Return what to hold while a picture of so many pixels is decoded: large ones are decoded one at a time."""
    return _large_ones if pixels > _LARGE_PIXELS else contextlib.nullcontext()
