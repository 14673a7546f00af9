"""Files damaged at random: in any bytes, or in the numbers that say how a file of a known kind is built."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from hypothesis import strategies as st

NUMBERS = (
    *(0, 1, 2, 3, 4, 5, 6, 7, 8, 16, 17, 255, 256, 1000, 7000, 32768, 65535, 2**31 - 1, 2**31, 2**32 - 1),
    *(273, 277, 278, 279, 322, 323, 324, 325, 347, 513, 514, 32773, 32946, 34925, 50000),  # tags and kinds of TIFF
)
_LONG_LENGTHS = (b"OB", b"OW", b"OF", b"SQ", b"UN", b"UT")  # DICOM PS3.5, 7.1.2


EDITS = st.lists(
    st.tuples(
        st.sampled_from(("replace", "insert", "delete", "repeat", "cut")),
        st.floats(0, 1, exclude_max=True),
        st.one_of(
            st.binary(min_size=1, max_size=8),
            st.sampled_from([b"\xff\xff\xff\xff", b"\x00\x00\x00\x00", b"\x7f\xff\xff\xff", b"\x80\x00", b"\x01"]),
        ),
    ),
    min_size=1,
    max_size=6,
)

CHANGES = st.lists(
    st.tuples(
        st.floats(0, 1, exclude_max=True),
        st.floats(0, 1, exclude_max=True),
        st.sampled_from(("number", "more", "less", "twice", "bit", "other")),
    ),
    max_size=4,
)


def edit(data: bytes, edits: list[tuple[str, float, bytes]]) -> bytes:
    """Change some bytes; most changes hit the first 512, where headers are."""
    for number, (kind, place, new) in enumerate(edits):
        at = int(place * (min(len(data), 512) if number % 3 else len(data)))
        if kind == "replace":
            data = data[:at] + new + data[at + len(new) :]
        elif kind == "insert":
            data = data[:at] + new + data[at:]
        elif kind == "delete":
            data = data[:at] + data[at + len(new) :]
        elif kind == "repeat":
            data = data[:at] + data[at : at + 64] * len(new) + data[at:]
        elif number == 0:
            data = data[:at]
    return data


class Number(NamedTuple):
    """A whole number without sign within a file."""

    place: int
    size: int
    order: str  # "<" or ">"


def numbers(data: bytes) -> list[Number]:
    """Return the numbers of a sound file of these kinds; none of another."""
    if data[:4] in (b"II*\0", b"MM\0*"):
        return [*_of_tiff(data)]
    if data[:4] == b"GIF8":
        return [*_of_gif(data)]
    if data[344:347] == b"n+1":
        return [*_of_nifti()]
    if data[4:8] == b"ftyp":  # ISO 14496-12: boxes of numbers of several sizes, which start at even places here
        return [Number(place, size, ">") for place in range(0, min(len(data), 600) - 4, 2) for size in (1, 2, 4)]
    return [*_of_dicom(data)] if data[128:132] == b"DICM" else []


def changed(data: bytes, places: Sequence[Number], changes: Sequence[tuple[float, float, str]]) -> bytes:
    """Change numbers: each of the shares from 0 to 1 chooses one, and what becomes of it."""
    new = bytearray(data)
    for where, what, how in changes if places else ():
        number = places[math.floor(where * len(places))]
        piece = slice(number.place, number.place + number.size)
        order = "little" if number.order == "<" else "big"
        old = int.from_bytes(new[piece], order)  # type: ignore[arg-type]
        other = places[math.floor(what * len(places))]
        value = {
            "number": NUMBERS[math.floor(what * len(NUMBERS))],
            "more": old + 1,
            "less": old - 1,
            "twice": 2 * old,
            "bit": old ^ 1 << math.floor(8 * number.size * what),
            "other": int.from_bytes(new[other.place : other.place + other.size], order),  # type: ignore[arg-type]
        }[how]
        new[piece] = (value % 256**number.size).to_bytes(number.size, order)  # type: ignore[arg-type]
    return bytes(new)


def _of_tiff(data: bytes) -> Iterator[Number]:
    """TIFF 6.0, section 2: the entries of each directory, and the values of those that are elsewhere."""
    order = "<" if data[:2] == b"II" else ">"
    place = 4
    while directory := struct.unpack_from(order + "I", data, place)[0]:
        yield Number(place, 4, order)
        yield Number(directory, 2, order)
        (count,) = struct.unpack_from(order + "H", data, directory)
        for entry in range(directory + 2, directory + 2 + 12 * count, 12):
            _, kind, values, elsewhere = struct.unpack_from(order + "HHII", data, entry)
            yield from (Number(entry + at, size, order) for at, size in ((0, 2), (2, 2), (4, 4), (8, 4)))
            size = {3: 2, 4: 4}.get(kind, 1)
            if size * values > 4:
                yield from (Number(elsewhere + size * index, size, order) for index in range(min(values, 8)))
        place = directory + 2 + 12 * count
    yield Number(place, 4, order)


def _of_gif(data: bytes) -> Iterator[Number]:
    """GIF89a, sections 18 to 26: the sizes of screen and picture, flags, size of codes, and lengths of blocks."""
    yield from (Number(place, 2, "<") for place in (6, 8))
    yield Number(10, 1, "<")
    place = 13 + (3 * 2 ** (data[10] % 8 + 1) if data[10] & 128 else 0)
    while data[place] != 0x3B:
        yield Number(place, 1, "<")
        if data[place] == 0x2C:
            yield from (Number(place + at, 2, "<") for at in (1, 3, 5, 7))
            yield Number(place + 9, 1, "<")
            flags = data[place + 9]
            place += 10 + (3 * 2 ** (flags % 8 + 1) if flags & 128 else 0)
            yield Number(place, 1, "<")  # the smallest size of a code
            place += 1
        else:
            yield Number(place + 1, 1, "<")
            place += 2
        while data[place]:
            yield Number(place, 1, "<")
            yield from (Number(place + at, 2, "<") for at in range(1, 5))  # the first codes, or what a frame is told
            place += data[place] + 1
        yield Number(place, 1, "<")
        place += 1
    yield Number(place, 1, "<")


def _of_nifti() -> Iterator[Number]:
    """nifti1.h: the header's size, dimensions, type, spacing, offset of the voxels, slope, intercept and units."""
    yield Number(0, 4, "<")
    yield from (Number(place, 2, "<") for place in (*range(40, 56, 2), 70, 72))
    yield from (Number(place, 4, "<") for place in (*range(76, 124, 4), 344))


def _of_dicom(data: bytes) -> Iterator[Number]:
    """DICOM PS3.5, section 7.1: tags, representations, lengths and first values of little-endian explicit elements."""
    place = 132
    while place + 8 <= len(data):
        yield from (Number(place + at, 2, "<") for at in (0, 2, 4))
        is_long = data[place + 4 : place + 6] in _LONG_LENGTHS
        at, size = (8, 4) if is_long else (6, 2)
        yield Number(place + at, size, "<")
        length = int.from_bytes(data[place + at : place + at + size], "little")
        place += at + size
        yield from (Number(place + 2 * index, 2, "<") for index in range(min(length, 8) // 2))
        if length == 2**32 - 1:  # compressed pixels: items up to the end, A.4
            yield from (Number(item, 4, "<") for item in range(place, min(place + 96, len(data) - 4), 4))
            return
        place += length
