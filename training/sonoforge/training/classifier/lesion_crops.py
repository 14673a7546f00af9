"""Crops of a scan with its lesion, and without: scans without a lesion from collections that have none.

Healthy scans come from few collections, so a network learns the collection instead.  Every scan with a lesion also
shows healthy tissue of the same scanner: a crop beside the lesion is an example without one, a crop round it, of a
size drawn from the same range, its counterpart with one.  Whole scans of a collection without healthy ones must then
not teach whether there is a lesion, or "whole picture" would mean "lesion".
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sonoforge.training.data.masks import HALF

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels."""

SIDES = (0.35, 0.8)
"""Smallest and largest side of a crop, as shares of the picture's."""
_MARGIN = 0.025  # of the picture, between a lesion and a crop without it
_TRIES = 20
_BLACK = 12  # mean grey level below which a crop shows nothing


def lesion_box(mask: NDArray[np.uint8]) -> Box | None:
    """Return the smallest box around the lesion of a mask (H, W); None where it is empty."""
    rows, columns = np.flatnonzero((mask >= HALF).any(axis=1)), np.flatnonzero((mask >= HALF).any(axis=0))
    if not len(rows):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def crop_without(levels: NDArray[np.uint8], lesion: Box, rng: np.random.Generator) -> Box | None:
    """Draw a crop of a picture (H, W) beside its lesion; None where none was found, as beside a large one."""
    height, width = levels.shape
    left, top, right, bottom = lesion
    for _ in range(_TRIES):
        x, y, x_end, y_end = any_crop((height, width), rng)
        across, down = _MARGIN * width, _MARGIN * height
        beside = x_end <= left - across or x >= right + across or y_end <= top - down or y >= bottom + down
        if beside and levels[y:y_end, x:x_end].mean() > _BLACK:
            return x, y, x_end, y_end
    return None


def crop_around(size: tuple[int, int], lesion: Box, rng: np.random.Generator) -> Box:
    """Draw a crop of a picture (height, width) that holds its whole lesion, however large that is."""
    spans = []
    for side, start, end in ((size[1], lesion[0], lesion[2]), (size[0], lesion[1], lesion[3])):
        least = max(round(SIDES[0] * side), end - start)
        length = int(rng.integers(least, max(least, round(SIDES[1] * side)) + 1))
        first = int(rng.integers(max(0, end - length), min(start, side - length) + 1))
        spans.append((first, first + length))
    (left, right), (top, bottom) = spans
    return left, top, right, bottom


def any_crop(size: tuple[int, int], rng: np.random.Generator) -> Box:
    """Draw a crop of a picture (height, width), as of a scan without a lesion."""
    spans = []
    for side in (size[1], size[0]):
        length = int(rng.integers(round(SIDES[0] * side), round(SIDES[1] * side) + 1))
        first = int(rng.integers(0, side - length + 1))
        spans.append((first, first + length))
    (left, right), (top, bottom) = spans
    return left, top, right, bottom
