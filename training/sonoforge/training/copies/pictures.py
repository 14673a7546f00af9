"""Fit pictures for the copy search: grey, longest side `SIDE` pixels, aspect ratio kept.

This needs neither OpenCV nor SciPy, so reading images needs neither.
"""

import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray
from PIL import Image

SIDE = 256
_ALIGNED = 64  # bytes
_ON_DISK = Path("/var/tmp")  # noqa: S108 - where /tmp may lie in memory

Picture = NDArray[np.uint8]  # (H, W) grey


class Look(NamedTuple):
    """How a picture is transformed before it is compared."""

    mirrored: bool  # left to right
    inverted: bool  # as a negative
    upside_down: bool = False  # top to bottom; not needed for features: SIFT is invariant to a half turn


def fitted_size(width: int, height: int) -> tuple[int, int]:
    """Return the width and height of a picture after `fit`: the longer is `SIDE`, neither is below 8."""
    scale = SIDE / max(width, height)
    return max(8, round(width * scale)), max(8, round(height * scale))


def fit(picture: Picture) -> Picture:
    """Scale a grey (H, W) uint8 picture to a longest side of `SIDE` pixels, without aliasing."""
    height, width = picture.shape
    size = fitted_size(width, height)
    if size == (width, height):
        return np.ascontiguousarray(picture)
    return np.asarray(Image.fromarray(np.ascontiguousarray(picture)).resize(size, Image.Resampling.BICUBIC))


def stack_on_disk(blocks: Iterable[NDArray[Any]], dtype: DTypeLike, shape: tuple[int, ...] = ()) -> NDArray[Any]:
    """Write blocks of rows of one shape to a temporary file: (T, *shape), read-only.

    The file is in $TMPDIR, or else in /var/tmp if that exists; it has no name and disappears with the array.
    """
    disk = "TMPDIR" not in os.environ and os.access(_ON_DISK, os.W_OK)
    with tempfile.TemporaryFile(dir=_ON_DISK if disk else None) as file:
        size = sum(file.write(np.ascontiguousarray(block, dtype).data) for block in blocks if block.size)
        file.flush()
        if not size:
            return np.empty((0, *shape), dtype)
        return np.asarray(np.memmap(file, dtype, "r")).reshape(-1, *shape)


def on_disk(arrays: Iterable[NDArray[Any]]) -> list[NDArray[Any]]:
    """Write arrays of any type and shape to one temporary file and return them, read-only."""
    kinds: list[tuple[np.dtype[Any], tuple[int, ...], int]] = []

    def written() -> Iterator[NDArray[np.uint8]]:
        for array in arrays:
            kinds.append((array.dtype, array.shape, array.nbytes))
            data = np.frombuffer(np.ascontiguousarray(array).tobytes(), np.uint8)
            yield np.pad(data, (0, -array.nbytes % _ALIGNED))

    whole, begin, views = stack_on_disk(written(), np.uint8), 0, []
    for dtype, shape, size in kinds:
        views.append(whole[begin : begin + size].view(dtype).reshape(shape))
        begin += size + -size % _ALIGNED
    return views
