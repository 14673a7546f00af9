"""Refuse files that decoders would work on for minutes, or accept as complete when they are not.

Pillow's readers read a file in pieces through `TimedBytes`, which has a time limit. This needs no thread, process or
signal, and only counts this thread's processor time, so a busy machine refuses nothing.
"""

from __future__ import annotations

import io
import math
import re
import struct
import time
import zlib
from bisect import bisect_left
from collections.abc import Mapping
from typing import Any

from PIL import Image

from sonoforge.runtime.images.limits import MAX_FRAMES

SECONDS = 5.0
"""Seconds of processor time for one file; 50 million pixels, the limit, take 2 s as PNG."""

MOST_SCANS = 100
"""Scans in a JPEG: one piece may hold thousands of empty ones, and each visits all pixels.  Cameras and libjpeg's own
``jpegtran -progressive`` write about ten."""

MOST_VISITS = 1_000_000_000
"""Scans times pixels: twenty scans of the largest picture, twice the normal number; 0.6 s."""

# The most bytes that one compressed byte can stand for: deflate, 258 for 2 bits (RFC 1951, 3.2.5); LZW, 4096 for one
# code of 12 bits (TIFF 6.0, section 13; GIF89a, appendix F); PackBits, 128 for 2 bytes (TIFF 6.0, section 9).
_DEFLATE, _LZW, _PACK_BITS = 1032, 2731, 64
_TIFF_EXPANSIONS = {5: _LZW, 8: _DEFLATE, 32946: _DEFLATE, 32773: _PACK_BITS}  # by tag 259, Compression
_TIFF_JPEGS = (6, 7)
_COMPRESSION, _BITS, _STRIPS, _STRIP_BYTES, _TILES, _TILE_BYTES = 259, 258, 273, 279, 324, 325
_SIDES, _TILE_SIDES, _UNCOMPRESSED = (256, 257), (322, 323), 1
_PRIVATE_TAG = 32768  # the first one; TIFF 6.0, section 1
_TEXT_AND_BYTES = (1, 2, 7)  # types whose values Pillow keeps in one piece
_VALUE_BYTES = {3: 2, 4: 4, 5: 8, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}  # by type; 1 for the others
_MOST_VALUES = 250_000  # of a tag: more than the largest picture has tiles of 16 x 16
_MOST_PADDING = 4096 * 4096  # pixels of tiles beyond the picture's edge

# Bytes that strips may share, as blank ones do, beyond the size of the file: deflate takes a second to decode 10 MB of
# empty blocks.
_MOST_AGAIN = 20_000_000

_PIECES = 100  # between two looks at the clock, each of which may cost some microseconds; an ordinary file has ten
_MOST_SEGMENTS = 100_000
_MOST_CHUNKS = 100_000  # of a PNG; 200 MB in the smallest chunks that encoders write are 50 000
_JPEG_PIECES = 50_000  # four to a segment, which Pillow keeps all; 200 MB in the longest segments are 13 000
_MOST_COMMENTS = 1000  # of a PNM in text: for each, Pillow copies up to a megabyte
_SCAN, _END = 0xDA, 0xD9
_SCANS = bytes((0xFF, _SCAN))
_EXTENSION, _FRAME, _TRAILER = 0x21, 0x2C, 0x3B  # blocks of a GIF
# Any marker except stuffed bytes, restarts and fill bytes; ITU-T T.81, B.1.1.2 and table B.1.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")


class TooSlowError(Exception):
    """Decoding takes longer than allowed."""


class TimedBytes(io.BytesIO):
    """A file in memory that can be read for a limited time, and in so many pieces."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._reads, self._end = 0, math.inf
        self._most = _JPEG_PIECES if data[:2] == b"\xff\xd8" else math.inf

    def read(self, size: int | None = -1, /) -> bytes:
        """Read as a file does.

        Raises:
            TooSlowError: This thread has used `SECONDS` since the first hundred pieces, or there are too many pieces.
        """
        self._reads += 1
        if self._reads % _PIECES == 0:
            now = time.thread_time()
            if now > self._end or self._reads > self._most:
                raise TooSlowError
            self._end = min(self._end, now + SECONDS)
        return super().read(size)

    def restart(self) -> None:
        """Restart the clock for the next frame of a file."""
        self._end = math.inf


def check_work(image: Image.Image, data: bytes) -> None:
    """Refuse, before memory is allocated, a file too short for its pixels or one that visits them again and again.

    Raises:
        ValueError: The data is too short for the pixels, even if compressed well.
        TooSlowError: Its scans would take too long.
    """
    pixels = image.width * image.height
    if image.format == "JPEG" and _has_many_scans(data, min(MOST_SCANS, MOST_VISITS // pixels)):
        raise TooSlowError
    if image.format == "PNG":
        depth, colour = data[24], data[25]
        _check_room(pixels * depth * {2: 3, 4: 2, 6: 4}.get(colour, 1) // 8, len(data) * _DEFLATE)
    elif image.format == "GIF" and (tiles := getattr(image, "tile", None)):
        left, top, right, bottom = tiles[0][1] or (0, 0, 0, 0)
        _check_room((right - left) * (bottom - top), len(data) * _LZW)
    elif isinstance(tags := getattr(image, "tag_v2", None), Mapping):
        _check_tiff(tags, pixels, data)


def check_tags(data: bytes) -> None:
    """Refuse a TIFF before Pillow reads it if its tags have millions of values or share their bytes.

    Source: TIFF 6.0, section 2; for 64 bits, the BigTIFF file format of libtiff.

    Raises:
        ValueError: A tag has more values than any picture needs, the tags of all pages hold more bytes than the file,
            or the file ends before them.
    """
    order = "<" if data[:2] == b"II" else ">"
    is_big = 43 in data[2:4]
    at, start, number, entry = (8, "Q", "Q", "HHQ8x") if is_big else (4, "I", "H", "HHI4x")
    size = struct.calcsize(order + entry)
    total, pages = 0, set[int]()
    while len(pages) <= MAX_FRAMES:
        try:
            (page,) = struct.unpack_from(order + start, data, at)
            if pages and (not page or page in pages):  # the end, or a loop
                break
            (count,) = struct.unpack_from(order + number, data, page)
        except struct.error:
            if pages:
                break
            raise ValueError("it ends before its tags") from None
        pages.add(page)
        place = page + struct.calcsize(order + number)
        at = place + size * count
        entries = data[place : place + size * min(count, len(data))]
        for tag, kind, values in struct.iter_unpack(order + entry, entries[: len(entries) // size * size]):
            if values > _MOST_VALUES and tag < _PRIVATE_TAG and kind not in _TEXT_AND_BYTES:
                raise ValueError(f"{values} values of tag {tag}; a picture has at most {_MOST_VALUES}")
            length = values * _VALUE_BYTES.get(kind, 1)
            total += length if length <= len(data) else 0  # Pillow skips longer ones
    if total > 2 * len(data):
        raise ValueError(f"{total} bytes of tags in a file of {len(data)}")


def _check_tiff(tags: Mapping[int, Any], pixels: int, data: bytes) -> None:
    """Check a TIFF's strips or tiles: tiles may be larger than the picture, and all may be in one place."""
    compression = tags.get(_COMPRESSION)
    starts, lengths = (
        [int(one) for one in tags.get(strips) or tags.get(tiles) or ()]
        for strips, tiles in ((_STRIPS, _TILES), (_STRIP_BYTES, _TILE_BYTES))
    )
    padded = pixels
    if _TILES in tags:
        width, height, *sides = (int(tags.get(side, 0)) for side in (*_SIDES, *_TILE_SIDES))
        padded = math.prod(-(-whole // side) * side for whole, side in zip((width, height), sides, strict=True))
        if padded > 2 * pixels + _MOST_PADDING:
            raise ValueError(f"tiles of {sides[0]}x{sides[1]} pixels for a picture of {width}x{height}")
    if compression in _TIFF_EXPANSIONS:
        there = sum(min(length, len(data)) for length in lengths)
        _check_room(pixels * sum(tags.get(_BITS, (1,))) // 8, there * _TIFF_EXPANSIONS[compression])
    if compression == _UNCOMPRESSED:  # read by Pillow itself, through TimedBytes
        return
    lengths += [len(data)] * (len(starts) - len(lengths))  # as libtiff reads strips without lengths
    ends = [min(start + (length or len(data)), len(data)) for start, length in zip(starts, lengths, strict=False)]
    if sum(max(end - start, 0) for start, end in zip(starts, ends, strict=True)) > len(data) + _MOST_AGAIN:
        raise TooSlowError
    if compression in _TIFF_JPEGS and starts:
        marks = [mark.start() for mark in re.finditer(_SCANS, data)]
        scans = sum(
            bisect_left(marks, end) - bisect_left(marks, start) for start, end in zip(starts, ends, strict=True)
        )
        if scans * (padded // len(starts) + 1) > MOST_VISITS:
            raise TooSlowError


def check_gif_frames(data: bytes, width: int, height: int) -> None:
    """Raise ValueError for a GIF with a frame beyond its screen: Pillow would enlarge the screen to hold it.

    Source: GIF89a specification, sections 18 to 26.
    """

    def table(flags: int) -> int:
        return 3 << (flags & 7) + 1 if flags & 128 else 0

    place = 13 + table(data[10])
    while place + 10 < len(data) and data[place] != _TRAILER:
        if data[place] == _FRAME:
            left, top, across, down, flags = struct.unpack_from("<4HB", data, place + 1)
            if left + across > width or top + down > height:
                raise ValueError(f"a frame reaches to {left + across}x{top + down} on a screen of {width}x{height}")
            place += 11 + table(flags)
        elif data[place] == _EXTENSION:
            place += 2
        else:  # skipped, as Pillow does
            place += 1
            continue
        while place < len(data) and data[place]:
            place += data[place] + 1
        place += 1


def _check_room(needed: int, most: int) -> None:
    if needed > most:
        raise ValueError(f"{needed} bytes of pixels, but the data can hold at most {most}")


def _has_many_scans(data: bytes, most: int) -> bool:
    """Whether a JPEG has more than ``most`` scans, or more segments between them than cameras write."""
    if data.count(_SCANS) <= most:  # metadata, or a film behind the picture, may hold that marker too
        return False
    scans = 0
    at = 2
    for _ in range(_MOST_SEGMENTS):  # ITU-T T.81, B.1.1.4
        marker = _MARKER.search(data, at)
        if marker is None or data[marker.start() + 1] == _END:
            return scans > most
        scans += data[marker.start() + 1] == _SCAN
        at = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2], "big")
    return True


def check_comments(data: bytes) -> None:
    """Raise `TooSlowError` for a PNM in text (P1 to P3) with more comments than any program writes."""
    if data[1:2] in (b"1", b"2", b"3") and data.count(b"#") > _MOST_COMMENTS:
        raise TooSlowError


def check_chunks(data: bytes) -> None:
    """Check every chunk's CRC and the end chunk of a PNG; Pillow does not for pixel data.

    Source: PNG specification, third edition, sections 5.3, 5.4 and 5.6.

    Raises:
        ValueError: A chunk is damaged, or the end is missing.
        TooSlowError: There are too many chunks.
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


first_checks = {"PngImageFile": check_chunks, "TiffImageFile": check_tags, "PpmImageFile": check_comments}
"""What a file must pass before Pillow reads it, by the name of Pillow's reader."""
