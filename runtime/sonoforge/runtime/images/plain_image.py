"""A picture that nothing is left to be done to, and what was noticed while it was read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NewType

from PIL import Image

PlainImage = NewType("PlainImage", Image.Image)
"""A loaded image of mode ``L`` or ``RGB``, 8 bits a channel, upright: under the rules of `images.decoding` it
stays as it is."""

_REMARKS = "sonoforge:remarks"  # in an image's info, which Pillow hands on to its crops and copies


def remarks_on(image: Image.Image) -> tuple[str, ...]:
    """Return what was noticed while a picture was read, in phrases, such as that its levels were spread."""
    return tuple(image.info.get(_REMARKS, ()))


def with_remarks(image: Image.Image, remarks: Iterable[str]) -> PlainImage:
    """Note on an image what was noticed while it was read."""
    if noted := (*remarks_on(image), *remarks):
        image.info[_REMARKS] = noted
    return PlainImage(image)
