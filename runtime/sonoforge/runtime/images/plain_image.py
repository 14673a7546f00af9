"""Represent a fully decoded picture, the remarks made while it was read, and its grey levels."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any, NewType

import numpy as np
from numpy.typing import NDArray
from PIL import Image

PlainImage = NewType("PlainImage", Image.Image)
"""A loaded, upright image of mode ``L`` or ``RGB``, 8 bits a channel: `images.decoding` leaves it unchanged."""

_REMARKS = "sonoforge:remarks"  # in an image's info, which Pillow hands on to its crops and copies
_DEPTHS = (8, 10, 12, 14)


def remarks_on(image: Image.Image) -> tuple[str, ...]:
    """Return the remarks made while a picture was read, as phrases, for example that its levels were spread."""
    return tuple(image.info.get(_REMARKS, ()))


def with_remarks(image: Image.Image, remarks: Iterable[str]) -> PlainImage:
    """Attach remarks to an image."""
    if noted := (*remarks_on(image), *remarks):
        image.info[_REMARKS] = noted
    return PlainImage(image)


def grey_levels(picture: Image.Image | NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the grey levels (H, W) uint8 of a picture; colours become luma (ITU-R BT.601) as Pillow rounds it.

    Args:
        picture: A Pillow image, or an array (H, W) of grey or (H, W, 3) of red, green and blue, uint8.  Grey levels
            are returned without a copy.
    """
    if isinstance(picture, np.ndarray):
        if picture.ndim == 2:
            return picture
        if picture.strides[2] == 0:  # one channel broadcast to three: its luma is that channel
            return picture[..., 0]
        picture = Image.fromarray(picture)
    return np.asarray(picture if picture.mode == "L" else picture.convert("L"))


def filled_bits(least: int, greatest: int, room: int = 16) -> int:
    """Return how many bits hold all values from the smallest to the largest: 8, 10, 12, 14, or all of ``room``.

    Cameras and scanners deliver 10, 12 or 14 bits, and programs store them in 16 unchanged; shown over the range of 16
    bits, the picture would be nearly black. A picture of only zeros fills all of ``room``.
    """
    signed = least < 0
    for bits in _DEPTHS if (least, greatest) != (0, 0) else ():
        if bits < room and least >= -signed * 2 ** (bits - 1) and greatest < 2 ** (bits - signed):
            return bits
    return room


def spread_remark(bits: int, room: int = 16) -> str:
    """Return the remark on a picture whose levels were spread."""
    return f"{bits} bits in {room}: levels spread over the whole range"


def encoded(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """Encode a picture as the bytes of a file; ``options`` are passed to Pillow."""
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()
