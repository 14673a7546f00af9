"""Files that hold what can be made again, and that tell whether they are still what was written.

Layout: 20 characters "CRC-32, offset of the facts" in hexadecimal, raw bytes, then the facts as JSON.  Nothing is
fsynced: what a power cut damages is found by its CRC.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.atomic import replacing

_HEAD = 20


class CheckedWriter:
    """Writes one self-checking file, array by array; ``facts`` (anything JSON holds) may be set until the end."""

    def __init__(self, file: BinaryIO) -> None:
        self.facts: Any = None
        self._file = file
        self._check = 0

    def add(self, array: NDArray[Any]) -> None:
        """Append the bytes of an array."""
        self._write(np.ascontiguousarray(array).data.cast("B"))

    def _write(self, block: memoryview | bytes) -> None:
        self._file.write(block)
        self._check = zlib.crc32(block, self._check)

    def _finish(self) -> None:
        begin = self._file.tell()
        self._write(json.dumps(self.facts).encode())
        self._file.seek(0)
        self._file.write(f"{self._check:08x} {begin:010x}\n".encode())


@contextmanager
def write_checked(path: Path) -> Iterator[CheckedWriter]:
    """Write a self-checking file, which appears when it is complete.

    Raises:
        SonoforgeError: It cannot be written.
    """
    with replacing(path, durable=False) as file:
        file.write(b" " * _HEAD)
        writer = CheckedWriter(file)
        yield writer
        writer._finish()


def read_checked(path: Path) -> tuple[Any, NDArray[np.uint8]] | None:
    """Map a self-checking file into memory: its facts and its raw bytes; None where it is missing or damaged."""
    try:
        data = np.memmap(path, np.uint8, mode="r")
        check, begin = bytes(data[:_HEAD]).split()
        if zlib.crc32(data[_HEAD:].data) != int(check, 16):
            return None
        return json.loads(bytes(data[int(begin, 16) :])), data[_HEAD : int(begin, 16)]
    except (OSError, ValueError):
        return None
