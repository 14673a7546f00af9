"""Files that know whether they are still what was written, and that appear whole or not at all.

Layout: 20 characters "CRC-32, where the facts begin" in hexadecimal, raw bytes, then the facts as JSON.
They are written under a temporary name and renamed.  Nothing is fsynced: these files hold what can be made
again, and what a power cut damages is found by its CRC.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.errors import SonoforgeError

_HEAD = 20


class CheckedWriter:
    """Writes one self-checking file, block by block."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._check = 0
        file.write(b" " * _HEAD)

    def add(self, array: NDArray[np.uint8]) -> None:
        """Append raw bytes."""
        self._write(np.ascontiguousarray(array).data)

    def finish(self, facts: object) -> None:
        """Append the facts (anything JSON holds) and complete the head; nothing may follow."""
        begin = self._file.tell()
        self._write(json.dumps(facts).encode())
        self._file.seek(0)
        self._file.write(f"{self._check:08x} {begin:010x}\n".encode())

    def _write(self, block: memoryview | bytes) -> None:
        self._file.write(block)
        self._check = zlib.crc32(block, self._check)


def split_checked(data: memoryview) -> tuple[Any, int, int] | None:
    """Return a file's facts and where its raw bytes begin and end; None where a bit is not as written."""
    try:
        check, begin = bytes(data[:_HEAD]).split()
        if zlib.crc32(data[_HEAD:]) != int(check, 16):
            return None
        return json.loads(bytes(data[int(begin, 16) :])), _HEAD, int(begin, 16)
    except ValueError:
        return None


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file that takes the place of ``path`` once it is complete."""
    temporary = path.with_name(f".{path.name}.{os.urandom(6).hex()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("xb") as file:
                yield file
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise SonoforgeError(
            f"{path}: the image cache cannot be written ({reason}); set SONOFORGE_CACHE to a folder that can"
        ) from error
