"""How many bits the values of a picture fill, where its file has room for 16.

Cameras and scanners deliver 10, 12 or 14 bits, and programs store them in 16 as they are: shown over the range of 16
bits, such a picture is nearly black.
"""

from __future__ import annotations

_DEPTHS = (8, 10, 12, 14)


def filled_bits(least: int, greatest: int, room: int = 16) -> int:
    """Return how many bits hold all values from the least to the greatest: 8, 10, 12, 14, or all there is room for.

    Nothing is narrowed where all values are 0.
    """
    signed = least < 0
    for bits in _DEPTHS if (least, greatest) != (0, 0) else ():
        if bits < room and least >= -signed * 2 ** (bits - 1) and greatest < 2 ** (bits - signed):
            return bits
    return room


def in_words(bits: int, room: int = 16) -> str:
    """Return what is said of a picture whose levels were spread."""
    return f"{bits} bits in {room}: levels spread over the whole range"
