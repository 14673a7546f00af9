"""Look values up in the tables of a DICOM file: palettes, and tables of the modality and of values of interest.

Some writers store entries of 8 bits in words, or 0 to 255 in tables of 16 bits (PS3.3, C.7.6.3.1.5): the data decide.
pydicom's functions trust the descriptor, wrap values beyond a table of 8 bits, and expand few segments to gigabytes.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

PALETTE_TABLES = tuple(f"{colour}PaletteColorLookupTable" for colour in ("Red", "Green", "Blue"))
_WORD = 1 << 16
_LINEAR, _INDIRECT = 1, 2  # kinds of segments; 0 are discrete entries
_MOST_CODES = 6  # for an entry: an indirect segment of bytes


class Table(NamedTuple):
    """Entries, (N,) or (N, 3), for the values from ``first`` on; ``highest`` is the brightest that they can be."""

    first: int
    entries: NDArray[np.uint16]
    highest: int

    def look_up(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Return the entry of each value; a value outside the table gets the entry at the nearer end."""
        # Some files state the first of signed values as an unsigned number.
        first = self.first - _WORD if self.first >= _WORD // 2 and values.min() < 0 else self.first
        places = np.clip(np.rint(values.astype(np.float64)) - first, 0, len(self.entries) - 1)
        return np.asarray(self.entries[places.astype(np.intp)], np.float64)


def read_table(item: Dataset, *names: str) -> Table:
    """Read the table ``LUT`` or `PALETTE_TABLES`; raise an error of any kind if it is damaged."""
    count, first, bits = map(int, item[f"{names[0]}Descriptor"].value)
    if bits not in range(1, 17):
        raise ValueError(f"{bits} bits")
    count = count % _WORD or _WORD
    columns = []
    for name in names:
        plain = item.get(f"{name}Data")
        data = plain or item[f"Segmented{name}Data"].value
        data = data if isinstance(data, bytes) else np.asarray(data, "<u2").tobytes()
        size, padding = divmod(len(data), count)
        if not plain:
            # The second byte is a length, which is not 0, or the upper half of a word's kind, which is.
            columns.append(np.asarray(_expanded(data, count, 1 if bits <= 8 and data[1] else 2), np.uint16))
        elif size in (1, 2) and padding < 2:
            columns.append(np.frombuffer(data, f"<u{size}", count).astype(np.uint16))
        else:
            raise ValueError(f"{len(data)} bytes for {count} entries")
    entries = np.stack(columns, axis=-1) if len(columns) > 1 else columns[0]
    highest = int(entries.max())
    in_high_bytes = bits == 8 and not (entries & 255).any()
    ends = (2 ** min(bits, 8) - 1, 255, 0xFF00 if in_high_bytes else 0, 2**bits - 1, _WORD - 1)
    return Table(first, entries, next(end for end in ends if highest <= end))


def _expanded(data: bytes, count: int, size: int) -> list[int]:
    """Expand segments of bytes or words to a number of entries; PS3.3, C.7.9.2."""
    codes = np.frombuffer(data, f"<u{size}", min(len(data) // size, _MOST_CODES * count)).tolist()
    entries: list[int] = []
    starts = set[int]()  # of segments that may be repeated
    place = back = left = 0  # `left` segments are to be repeated, then it goes on at `back`
    while len(entries) < count:
        kind, length = codes[place : place + 2]
        if not length or kind > _INDIRECT or (left and place not in starts):
            raise ValueError("no entries, no such kind, or no segment to repeat")
        if kind == _INDIRECT:
            back, left = place + 2 + 4 // size, length
            offset = sum(code << 8 * size * i for i, code in enumerate(codes[place + 2 : back]))
            # The offset is one of bytes; some writers, and pydicom, count words.
            place = offset // size if offset // size in starts else offset
            continue
        starts.add(place)
        if kind == _LINEAR:
            entries += np.rint(np.linspace(entries[-1], codes[place + 2], length + 1)[1:]).astype(int).tolist()
        else:
            entries += codes[place + 2 : place + 2 + length]
        place += 3 if kind == _LINEAR else 2 + length
        left -= left > 0
        if back and not left:
            place, back = back, 0
    if len(entries) != count:
        raise ValueError(f"{len(entries)} entries, not {count}")
    return entries
