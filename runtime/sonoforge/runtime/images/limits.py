"""Set size limits for image files, and define the error for one that cannot be used.

A size is checked once, where a picture enters: from a file's header, a caller, or a page of a clip. Large pictures are
decoded one at a time whatever the number of threads, so no file needs more than a few hundred megabytes.
"""

from __future__ import annotations

import contextlib
import os
import stat
import threading
from pathlib import Path
from typing import Any

from sonoforge.runtime.errors import SonoforgeError

MAX_FILE_BYTES = 200_000_000
MAX_PIXELS = 50_000_000
MIN_SIDE = 16
MAX_WEBP_PIXELS = 16_000_000  # its decoder needs 15 bytes a pixel
MAX_AVIF_PIXELS = 30_000_000  # AVIF and HEIC decoders need 9 and 7 bytes a pixel; phones take 12 to 25 million
MAX_JPEG_2000_SAMPLES = 24_000_000  # pixels x channels; its decoder needs an eighth of a microsecond and 7 bytes each
MAX_CLIP_FILE_BYTES = 4_000_000_000  # DICOM and films, which are read frame by frame and not into memory
MAX_FRAMES = 5000  # a minute at 60 frames a second, with some to spare
MAX_CLIP_PIXELS = 4_000_000_000  # 5000 frames of 1024 x 768
MAX_CLIP_SECONDS = 120
"""Processor time for all frames of a clip other than DICOM; 4000 million pixels take about 40 s."""
MAX_ASPECT = 20
"""Longest side divided by shortest; a panoramic scan has about six.  Resizing a strip of pixels to a square would take
gigabytes."""

_LARGE_PIXELS = 8_000_000
_large_ones = threading.Lock()


class ImageError(SonoforgeError):
    """An image file that cannot be used.

    Attributes:
        code: ``not_found``, ``is_directory``, ``unreadable``, ``empty``, ``not_an_image``, ``truncated``,
            ``incomplete`` (DICOM only: a required element is missing or damaged), ``too_large``, ``too_small``,
            ``too_slow``, ``animated`` or ``unsupported``.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def clip_refused(path: Path | str, what: str) -> ImageError:
    """Return the error for a clip given in place of a picture; ``what`` describes it, such as ``a video``."""
    return ImageError(
        "animated",
        f"{path}: {what}, not a single picture; sonoforge classify answers clips, sonoforge data import frames "
        "extracts pictures",
    )


def check_file(path: Path | str, *, clip: bool = False) -> int:
    """Return a regular file's size; refuse anything else, as a pipe or a device may hang, and too large a file."""
    status, most = os.stat(path), MAX_CLIP_FILE_BYTES if clip else MAX_FILE_BYTES  # noqa: PTH116 - str and Path alike
    if stat.S_ISDIR(status.st_mode):
        raise ImageError("is_directory", f"{path}: is a folder, not an image file")
    if not stat.S_ISREG(status.st_mode):
        raise ImageError("unreadable", f"{path}: is a pipe, socket or device, not an image file")
    if status.st_size > most:
        size = f"{status.st_size / 1e6:.0f} MB, more than {most / 1e6:.0f} MB"
        raise ImageError("too_large", f"{path}: {size}; save it smaller, or cut the clip")
    if not status.st_size:  # also files of /proc, which may wait for the kernel
        raise ImageError("empty", f"{path}: the file is empty (0 bytes); obtain it again")
    return status.st_size


def check_size(width: int, height: int, path: Path | str, most: int = MAX_PIXELS) -> None:
    """Refuse a picture with too many pixels, too few, or too extreme an aspect ratio."""
    size = f"{path}: {width}x{height} pixels"
    if width * height > most:
        raise ImageError("too_large", f"{size}, more than {most // 1_000_000} million; scale it down")
    if min(width, height) < MIN_SIDE:
        raise ImageError("too_small", f"{size}, but each side needs at least {MIN_SIDE}")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise ImageError("unsupported", f"{size}: one side is more than {MAX_ASPECT} times the other; crop it")


def check_clip(frames: int, width: int, height: int, path: Path | str) -> None:
    """Refuse a clip without frames, or with too many."""
    if not 1 <= frames <= MAX_FRAMES or frames * width * height > MAX_CLIP_PIXELS:
        raise ImageError(
            "too_large",
            f"{path}: {in_short(frames)} frames of {width}x{height} pixels; a clip may have 1 to {MAX_FRAMES} frames "
            f"and {MAX_CLIP_PIXELS // 1_000_000} million pixels in all; cut the clip",
        )


def in_short(number: int) -> str:
    """Return a number that a file claims, or only its length if it is long."""
    return str(number) if abs(number) < 10**12 else f"a number of {len(str(abs(number)))} digits"


def large_ones_in_turn(pixels: int) -> contextlib.AbstractContextManager[Any]:
    """Return the context for decoding a picture of this many pixels: large ones are decoded one at a time."""
    return _large_ones if pixels > _LARGE_PIXELS else contextlib.nullcontext()
