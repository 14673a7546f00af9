"""Find what is drawn over a scan in colour: calipers, lines and labels, and the overlay of Doppler or elastography.

A B-mode scan is grey, or tinted by one colour map, in which a brightness has one colour.  Anything else is ink: the
easiest of all marks, and lost once colours have become grey levels, where yellow is nearly white and blue nearly black.
Flow and stiffness fill areas or stand in a box; writing has thin strokes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops

from sonoforge.runtime.images.lettering import HIGHEST, LOWEST, WIDER, Kind, Steps, is_dotted, join

# Levels by which ink departs from grey, or from the tint of its brightness: JPEG halves the colour of a thin stroke,
# and adds less than 20 levels to grey.
_LEAST_SPREAD = 40
# A picture is tinted if a quarter of its pixels brighter than 32 departs by 24 levels from grey.  Its tint is the
# median of each of 32 steps of brightness that holds a hundredth of the picture, in proportion for other steps.
_LIT, _TINT, _TINTED, _BINS, _FULL = 32, 24, 0.25, 32, 0.01
# An overlay fills squares of 5 x 5 pixels, at least this share of the picture; strokes are thinner.
_SOLID, _FILLED = 5, 0.0015
# A colour box without flow: at least this share of the picture's shorter side, most of its ink on its own sides.
_FRAME, _ON_SIDES, _SIDE = 0.12, 0.7, 4
_LONGEST_CROSS = 30


class ColouredInk(NamedTuple):
    """What is drawn in colour."""

    marks: list[tuple[Kind, tuple[int, int, int, int]]]  # with left, top, right, bottom, the last two exclusive
    overlay: bool  # whether flow, stiffness or a colour box lies over the scan


def find_coloured_ink(picture: Image.Image) -> ColouredInk:
    """Find what is drawn in colour; a grey picture has none.

    Examples:
        >>> scan = Image.new("RGB", (200, 150), (90, 90, 90))
        >>> scan.paste((255, 255, 0), (60, 70, 75, 72))
        >>> scan.paste((255, 255, 0), (66, 64, 68, 79))
        >>> find_coloured_ink(scan).marks
        [('caliper', (60, 64, 75, 79))]
    """
    if picture.mode != "RGB":
        return ColouredInk([], overlay=False)
    ink = _departure(picture) > _LEAST_SPREAD
    rows, columns = np.nonzero(ink)
    if not len(rows):
        return ColouredInk([], overlay=False)
    overlay = False
    if min(ink.shape) >= _SOLID:
        sums = np.pad(ink.astype(np.int32).cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
        inside = sums[_SOLID:, _SOLID:] - sums[:-_SOLID, _SOLID:] - sums[_SOLID:, :-_SOLID] + sums[:-_SOLID, :-_SOLID]
        overlay = bool(np.count_nonzero(inside == _SOLID**2) > _FILLED * ink.size)
    marks = []
    for members in join(Steps(rows, columns), ink.shape):
        own, across = rows[members], columns[members]
        box = int(across.min()), int(own.min()), int(across.max()) + 1, int(own.max()) + 1
        if _is_frame(own, across, box, min(ink.shape)):
            overlay = True
        else:
            marks.append((_kind(own, across, box), box))
    return ColouredInk([] if overlay else marks, overlay)


def _departure(picture: Image.Image) -> NDArray[np.uint8]:
    """Return the levels (H, W) by which each pixel departs from grey, or from its tint."""
    bands = picture.split()
    high = ImageChops.lighter(ImageChops.lighter(bands[0], bands[1]), bands[2])
    low = ImageChops.darker(ImageChops.darker(bands[0], bands[1]), bands[2])
    difference = ImageChops.subtract(high, low)
    spread = np.asarray(difference)
    if not (spread > _LEAST_SPREAD).any():
        return spread
    lit = np.asarray(high) > _LIT
    if np.count_nonzero(spread[lit] > _TINT) < _TINTED * np.count_nonzero(lit):
        return spread
    colours = np.asarray(picture)
    steps = colours.sum(axis=2, dtype=np.int64) * _BINS // (3 * 256)
    tint = np.stack([_tint_levels(steps, colours[..., band])[steps] for band in range(3)], axis=2)
    return np.asarray(np.abs(colours.astype(np.int16) - tint).max(axis=2).astype(np.uint8))


def _tint_levels(steps: NDArray[np.int64], levels: NDArray[np.uint8]) -> NDArray[np.int16]:
    """Return a channel's tint (_BINS,) by step of brightness: the lower median, or that of the nearest full step."""
    counts = np.bincount((steps * 256 + levels).ravel(), minlength=256 * _BINS).reshape(_BINS, 256).cumsum(axis=1)
    medians = np.argmax(2 * counts >= counts[:, -1:], axis=1)
    full = np.flatnonzero(counts[:, -1] >= _FULL * steps.size)
    every = np.arange(_BINS)
    nearest = full[np.argmin(np.abs(every[:, None] - full), axis=1)]
    return np.asarray(np.minimum(medians[nearest] * (2 * every + 1) // (2 * nearest + 1), 255), np.int16)


def _is_frame(rows: NDArray[np.intp], columns: NDArray[np.intp], box: tuple[int, int, int, int], shorter: int) -> bool:
    left, top, right, bottom = box
    if min(right - left, bottom - top) <= _FRAME * shorter or len(rows) <= (right - left + bottom - top) / 2:
        return False
    on_sides = (rows < top + _SIDE) | (rows >= bottom - _SIDE) | (columns < left + _SIDE) | (columns >= right - _SIDE)
    return bool(on_sides.mean() > _ON_SIDES)


def _kind(rows: NDArray[np.intp], columns: NDArray[np.intp], box: tuple[int, int, int, int]) -> Kind:
    """Classify a group of ink by its form."""
    width, height = box[2] - box[0], box[3] - box[1]
    if max(width, height) <= _LONGEST_CROSS and width < 2 * height:
        return "caliper"
    if LOWEST <= height <= HIGHEST and width >= WIDER * height:
        return "text"
    return "dotted line" if is_dotted(rows, columns) else "drawing"
