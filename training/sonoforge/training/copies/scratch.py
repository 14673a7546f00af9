"""Arrays in a temporary file, mapped, so that a large set needs no more memory than there is."""

import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

_ALIGNED = 64  # bytes
_ON_DISK = Path("/var/tmp")  # noqa: S108 - where /tmp may lie in memory


def stack_on_disk(blocks: Iterable[NDArray[Any]], dtype: DTypeLike, shape: tuple[int, ...] = ()) -> NDArray[Any]:
    """Write blocks of rows, each of a shape, one after the other: (T, *shape), read-only.

    The file lies in $TMPDIR, or else in /var/tmp where there is such a folder; it has no name, and goes with the array.
    """
    disk = "TMPDIR" not in os.environ and os.access(_ON_DISK, os.W_OK)
    with tempfile.TemporaryFile(dir=_ON_DISK if disk else None) as file:
        size = sum(file.write(np.ascontiguousarray(block, dtype).data) for block in blocks if block.size)
        file.flush()
        if not size:
            return np.empty((0, *shape), dtype)
        return np.asarray(np.memmap(file, dtype, "r")).reshape(-1, *shape)


def on_disk(arrays: Iterable[NDArray[Any]]) -> list[NDArray[Any]]:
    """Write arrays of any type and shape, and return them, read-only."""
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
