"""Files that decoders would work on for minutes, or take as whole when they are not.

Pillow's readers walk a file's chunks one by one in Python, and hand its data to the native decoder in pieces; each
piece is read through `TimedBytes`, which stops reading after a while.  So no thread, process or signal is needed, and
the rule is the same on every system.  Processor time of this thread alone counts: a busy machine refuses nothing.
"""

from __future__ import annotations

import io
import math
import re
import struct
import time
import zlib

SECONDS = 20.0
"""Processor time for one file; 50 million pixels, the most that are decoded, take 2 s as PNG."""

MOST_SCANS = 100
"""Of a JPEG: one piece may hold thousands of empty ones, each of which visits all pixels.  Cameras and libjpeg's own
``jpegtran -progressive`` write some ten."""

_PIECES = 100  # between two looks at the clock, each of which may cost some microseconds; an ordinary file has ten
_MOST_SEGMENTS = 100_000
_MOST_CHUNKS = 500_000  # of a PNG: 200 MB, the most that is read, in the smallest that encoders write are 50 000
_SCAN, _END = 0xDA, 0xD9
# Any marker but stuffed bytes, restarts and fill bytes; ITU-T T.81, B.1.1.2 and table B.1.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")


class TooSlowError(Exception):
    """Decoding took longer than it may."""


class TimedBytes(io.BytesIO):
    """A file in memory that is read for a limited time."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._reads, self._end = 0, math.inf

    def read(self, size: int | None = -1, /) -> bytes:
        """Read as a file does.

        Raises:
            TooSlowError: This thread has taken longer than it may since the first hundred pieces.
        """
        self._reads += 1
        if self._reads % _PIECES == 0:
            now = time.thread_time()
            if now > self._end:
                raise TooSlowError
            self._end = min(self._end, now + SECONDS)
        return super().read(size)


def has_many_scans(data: bytes) -> bool:
    """Whether a JPEG has more scans, or segments between them, than any camera writes."""
    if data.count(b"\xff\xda") <= MOST_SCANS:  # which metadata or a film behind the picture may hold, too
        return False
    scans, at = 0, 2
    for _ in range(_MOST_SEGMENTS):
        marker = _MARKER.search(data, at)
        if marker is None or data[marker.start() + 1] == _END:
            return scans > MOST_SCANS
        scans += data[marker.start() + 1] == _SCAN
        at = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2], "big")
    return True


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
