"""The chunks of a PNG file, which Pillow does not check beyond the header."""

from __future__ import annotations

import struct
import zlib

from sonoforge.runtime.images.stalling import TooSlowError

_MOST_CHUNKS = 500_000  # 200 MB, the most that is read, in the smallest chunks that encoders write are 50 000


def check_chunks(data: bytes) -> None:
    """Check every chunk's CRC and the presence of the end chunk, which Pillow does not do for pixel data.

    Source: PNG specification, third edition, sections 5.3 and 5.6.

    Raises:
        ValueError: A chunk is damaged, or the end is missing.
        TooSlowError: The chunks are without number.
    """
    position = 8
    for _ in range(_MOST_CHUNKS):
        if position + 12 > len(data):
            raise ValueError("the end of the PNG is missing")
        (length,) = struct.unpack_from(">I", data, position)
        end = position + 12 + length
        if end > len(data):
            raise ValueError("the last PNG chunk is cut off")
        kind = data[position + 4 : position + 8]
        (checksum,) = struct.unpack_from(">I", data, end - 4)
        if zlib.crc32(memoryview(data)[position + 4 : end - 4]) != checksum:
            raise ValueError(f"wrong checksum in PNG chunk {kind.decode('latin-1')}")
        if kind == b"IEND":
            return
        position = end
    raise TooSlowError
