"""Write and read self-checking files, for data that can be recreated; read foreign ``.npz`` files within limits.

Layout of a self-checking file: 20 characters "CRC-32, offset of the facts" in hexadecimal, raw bytes, then the facts as
JSON.
"""

import json
import zipfile
import zlib
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.atomic import replacing
from sonoforge.runtime.errors import SonoforgeError, refusing

_HEAD = 20


def read_npz(
    path: Path, required: Collection[str], optional: Collection[str] = (), *, most_bytes: int
) -> dict[str, NDArray[Any]]:
    """Read arrays of a foreign ``.npz`` by name; nothing is unpickled.

    Raises:
        SonoforgeError: The file is not such an archive, holds more than ``most_bytes``, or lacks a required array.
    """
    # Hostile bytes may fail in any way.
    with refusing(f"{path}: not a plain numpy archive", "save by numpy.savez", kinds=Exception):
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > most_bytes:
            raise SonoforgeError(f"{path}: {size / 1e9:.1f} GB exceed the limit of {most_bytes / 1e9:g}")
        with np.load(path, allow_pickle=False) as arrays:
            if missing := [name for name in required if name not in arrays]:
                raise SonoforgeError(f"{path}: has no array called {missing[0]}, only {', '.join(arrays.files)}")
            return {name: arrays[name] for name in (*required, *optional) if name in arrays}


def write_checked(path: Path, arrays: Iterable[NDArray[Any]], facts: list[Any]) -> None:
    """Write a self-checking file, which appears once complete.

    ``facts`` (anything that JSON holds) go last, so that they may grow while the arrays are made.
    """
    with replacing(path, durable=False) as file:  # the CRC finds the damage of a power cut
        file.write(b" " * _HEAD)
        check = 0

        def add(block: memoryview | bytes) -> None:
            nonlocal check
            file.write(block)
            check = zlib.crc32(block, check)

        for array in arrays:
            if array.size:  # an empty one has no bytes to cast
                add(np.ascontiguousarray(array).data.cast("B"))
        begin = file.tell()
        add(json.dumps(facts).encode())
        file.seek(0)
        file.write(f"{check:08x} {begin:010x}\n".encode())


def read_checked(path: Path) -> tuple[Any, NDArray[np.uint8]] | None:
    """Map a self-checking file into memory: its facts and its raw bytes, or None if it is missing or damaged."""
    try:
        data = np.memmap(path, np.uint8, mode="r")
        check, begin = bytes(data[:_HEAD]).split()
        if zlib.crc32(data[_HEAD:].data) != int(check, 16):
            return None
        return json.loads(bytes(data[int(begin, 16) :])), data[_HEAD : int(begin, 16)]
    except (OSError, ValueError):
        return None
