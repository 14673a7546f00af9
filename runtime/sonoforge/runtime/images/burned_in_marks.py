"""Find what was burned into a scan: calipers, text, body marks, coloured ink.

Sonographers measure, label and mark scans before they store them.  A network that was trained on such scans can learn
the marks instead of the tissue: lesions are measured, normal breasts are not. ``runtime/docs/burned-in-marks.md`` says
how many it finds and misses.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops

from sonoforge.runtime.images.calipers import find_crosses
from sonoforge.runtime.images.plain_image import grey_levels

Kind = Literal["caliper", "dotted line", "text", "body mark", "drawing"]
_Box = tuple[int, int, int, int]

SENTENCE = "Burned-in marks can be a shortcut: the answer may come from them and not from the tissue."

# The longest side that is searched; larger pictures are first averaged by a whole factor, which bounds the time.
_LONGEST = 1024
# A picture with a larger share of sharp steps is grain without any blur, in which ink cannot be recognised.  In 250
# scans each of BUSI, BUS-BRA and BrEaST the largest share is 0.017.
_MOST_STEPS = 0.04
_PLURAL: dict[Kind, str] = {
    "caliper": "calipers",
    "dotted line": "dotted lines",
    "text": "text",
    "body mark": "body marks",
    "drawing": "drawings",
}


@dataclass(frozen=True)
class Mark:
    """One mark: its kind, and left, top, right and bottom in the picture's pixels, the last two exclusive."""

    kind: Kind
    box: _Box


@dataclass(frozen=True)
class Marks:
    """The marks of one picture."""

    marks: tuple[Mark, ...]  # coloured ones first, then calipers
    overlay: bool = False  # whether the colours of Doppler or elastography lie over the scan

    @property
    def counts(self) -> dict[Kind, int]:
        """How many there are of each kind that was found."""
        found = Counter(mark.kind for mark in self.marks)
        return {kind: found[kind] for kind in _PLURAL if found[kind]}

    @property
    def summary(self) -> str:
        """The marks in words, such as ``2 calipers, text``; empty for none."""
        return ", ".join(
            kind if kind == "text" else f"{count} {kind if count == 1 else _PLURAL[kind]}"
            for kind, count in self.counts.items()
        )

    def to_dict(self) -> dict[str, object]:
        """Return ``{"summary", "counts", "note"}``, ready for JSON; the note is empty without marks."""
        return {"summary": self.summary, "counts": dict(self.counts), "note": SENTENCE if self.marks else ""}


def find_marks(
    image: Image.Image | NDArray[np.uint8],
    box: tuple[int, int, int, int] | None = None,
    levels: NDArray[np.uint8] | None = None,
) -> Marks:
    """Find calipers, dotted lines, text, body marks and other drawings; ignore grain without any blur.

    Args:
        image: A Pillow image, or an array (H, W) of grey or (H, W, 3) of red, green and blue, uint8.
        box: Where to search, such as `scan_area.ScanArea.box`; None for the whole picture.
        levels: Grey levels (H, W) of the whole picture, if they are known already.
    """
    whole = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    left, top, right, bottom = box or (0, 0, *whole.size)
    searched = whole if box is None else whole.crop(box)
    factor = max(1, math.ceil(max(searched.size) / _LONGEST))
    levels = (grey_levels(whole) if levels is None else levels)[top:bottom, left:right]
    if factor > 1:
        searched, levels = searched.reduce(factor), np.asarray(Image.fromarray(levels).reduce(factor))
    if min(searched.size) < 2:
        return Marks(())
    ink = find_coloured_ink(searched)
    found = ink.marks + [
        (kind, own)
        for kind, own in _grey_marks(np.ascontiguousarray(levels))
        if not any(_overlaps(own, coloured) for _, coloured in ink.marks)
    ]

    def on_picture(own: _Box) -> _Box:
        x0, y0, x1, y1 = (edge * factor for edge in own)
        return max(left + x0, left), max(top + y0, top), min(left + x1, right), min(top + y1, bottom)

    return Marks(tuple(Mark(kind, on_picture(own)) for kind, own in found), ink.overlay)


def _grey_marks(levels: NDArray[np.uint8]) -> list[tuple[Kind, _Box]]:
    """Find the drawings in a picture (H, W) of grey levels, by kind and box."""
    steps = _sharp_steps(levels)
    if len(steps.rows) > _MOST_STEPS * levels.size:
        return []
    crosses = [cross.box for cross in find_crosses(levels)]
    written = _find_lettering(levels, steps, crosses)
    texts = [box for kind, box in written if kind == "text"]
    found: list[tuple[Kind, _Box]] = [
        ("caliper", own) for own in crosses if not any(_overlaps(own, text) for text in texts)
    ]
    return found + sorted(written)


def _overlaps(one: _Box, other: _Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


# ---- what is drawn in colour: a scan is grey, or has one tint for each brightness; flow and stiffness fill areas or
# stand in a box, writing has thin strokes

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
    """The parts drawn in colour."""

    marks: list[tuple[Kind, _Box]]  # with left, top, right, bottom, the last two exclusive
    overlay: bool  # whether flow, stiffness or a colour box lies over the scan


def find_coloured_ink(picture: Image.Image) -> ColouredInk:
    """Find the parts drawn in colour; a grey picture has none."""
    if picture.mode != "RGB" or not (ink := _departure(picture) > _LEAST_SPREAD).any():
        return ColouredInk([], overlay=False)
    (rows, columns), overlay = np.nonzero(ink), False
    if min(ink.shape) >= _SOLID:
        sums = np.pad(ink.astype(np.int32).cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
        inside = sums[_SOLID:, _SOLID:] - sums[:-_SOLID, _SOLID:] - sums[_SOLID:, :-_SOLID] + sums[:-_SOLID, :-_SOLID]
        overlay = bool(np.count_nonzero(inside == _SOLID**2) > _FILLED * ink.size)
    marks = []
    for members in _join(Steps(rows, columns), ink.shape):
        own, across = rows[members], columns[members]
        box = int(across.min()), int(own.min()), int(across.max()) + 1, int(own.max()) + 1
        if _is_frame(own, across, box, min(ink.shape)):
            overlay = True
        else:
            marks.append((_ink_kind(own, across, box), box))
    return ColouredInk([] if overlay else marks, overlay)


def _departure(picture: Image.Image) -> NDArray[np.uint8]:
    """Return how many levels (H, W) each pixel departs from grey, or from its tint."""
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
    """Return a channel's tint (_BINS,) for each brightness step: its lower median, or the nearest full step's."""
    counts = np.bincount((steps * 256 + levels).ravel(), minlength=256 * _BINS).reshape(_BINS, 256).cumsum(axis=1)
    medians = np.argmax(2 * counts >= counts[:, -1:], axis=1)
    full = np.flatnonzero(counts[:, -1] >= _FULL * steps.size)
    every = np.arange(_BINS)
    nearest = full[np.argmin(np.abs(every[:, None] - full), axis=1)]
    return np.asarray(np.minimum(medians[nearest] * (2 * every + 1) // (2 * nearest + 1), 255), np.int16)


def _is_frame(rows: NDArray[np.intp], columns: NDArray[np.intp], box: _Box, shorter: int) -> bool:
    left, top, right, bottom = box
    if min(right - left, bottom - top) <= _FRAME * shorter or len(rows) <= (right - left + bottom - top) / 2:
        return False
    on_sides = (rows < top + _SIDE) | (rows >= bottom - _SIDE) | (columns < left + _SIDE) | (columns >= right - _SIDE)
    return bool(on_sides.mean() > _ON_SIDES)


def _ink_kind(rows: NDArray[np.intp], columns: NDArray[np.intp], box: _Box) -> Kind:
    """Classify a group of ink by its form."""
    width, height = box[2] - box[0], box[3] - box[1]
    if max(width, height) <= _LONGEST_CROSS and width < 2 * height:
        return "caliper"
    if LOWEST <= height <= HIGHEST and width >= WIDER * height:
        return "text"
    return "dotted line" if _is_dotted(rows, columns) else "drawing"


# ---- text, body marks and dotted lines: neighbouring pixels of tissue hardly ever differ by much, and ink has edges of
# one pixel (Wu, Manmatha, Riseman, TextFinder, IEEE TPAMI 21(11), 1999; Jung, Kim, Jain, Text information extraction in
# images and video: a survey, Pattern Recognition 37(5), 2004, section 3.2)

# A step that counts, in levels of 255; most scans have none except in their ink.
_STEP = 50
# Pixels compared at a time, all rows as one line, so that intermediate results stay in the processor's cache.
_AT_ONCE = 1 << 16
_CELL = 4
_FEWEST = 2  # steps in a cell that counts: one alone is chance, a stroke has two edges
# Text: line heights of 5 to 36 pixels, and at least two letters wide.
LOWEST, HIGHEST, _NARROWEST = 5, 36, 18
WIDER = 1.6
# Share of the box's pixels that are steps.  A line of text has 0.05 to 0.35; several short lines at least 0.15; the
# outline of a body mark 0.03 to 0.15, a dotted line less.
_TEXT, _LINES, _DRAWING = 0.05, 0.15, 0.03
# Ink of one level: its 25th and 90th percentile are this close, and it is at least this bright; tissue is neither.
_EVEN, _BRIGHT = 40, 140
# A body mark has at least so many pixels and at most this share of the picture's longer side.
_SMALLEST_DRAWING, _LARGEST_DRAWING = 20, 0.34
# A drawing: one part spans so much of the width and of the height, and its ink covers at most this share of the box.
# A body mark can be as high as a line of text, but letters stand apart.
_SPANS_WIDTH, _SPANS_HEIGHT, _MOST_INK = 2 / 3, 5 / 6, 1 / 3
_ROUND = 1  # pixel around the box of the steps, which lie beside a stroke, not at its upper and lower end
# A dotted line: its steps lie this close to a straight line, in pixels, on at least this length, with gaps.
_STRAIGHT, _SHORTEST_LINE, _COVERED = 2.0, 25, 0.8
# Steps of the smallest mark: a letter of five rows has two in each.
_FEWEST_STEPS = 10


class Steps(NamedTuple):
    """Row and column of the left pixel of each sharp step, (N,) both."""

    rows: NDArray[np.intp]
    columns: NDArray[np.intp]


def _sharp_steps(levels: NDArray[np.uint8]) -> Steps:
    """Find the steps between horizontal neighbours of a picture (H, W) uint8."""
    line, width = levels.ravel(), levels.shape[1]
    found = []
    for begin in range(0, line.size - 1, _AT_ONCE):
        part = line[begin : begin + _AT_ONCE + 1]
        left, right = part[:-1], part[1:]
        found.append(np.flatnonzero(np.maximum(left, right) - np.minimum(left, right) >= _STEP) + begin)
    rows, columns = np.divmod(np.concatenate(found), width)
    beside = columns < width - 1  # the last pixel of a row has its neighbour in the next
    return Steps(rows[beside], columns[beside])


def _find_lettering(levels: NDArray[np.uint8], steps: Steps, calipers: list[_Box]) -> list[tuple[Kind, _Box]]:
    """Find text, body marks and dotted lines of (H, W) uint8 from its `_sharp_steps`, with left, top, right, bottom.

    A group of steps that reaches into a caliper's box is neither a body mark nor a separate line.
    """
    rows, columns = steps
    if len(rows) < _FEWEST_STEPS:
        return []
    taken = np.zeros(len(rows), np.bool_)
    for left, top, right, bottom in calipers:
        taken |= (rows >= top - 1) & (rows <= bottom) & (columns >= left - 2) & (columns <= right)
    found = []
    for members in _join(steps, levels.shape):
        own = members[~taken[members]]
        if len(own) >= _FEWEST_STEPS:
            down, across = rows[own], columns[own]
            box = int(across.min()), int(down.min()), int(across.max()) + 2, int(down.max()) + 1
            kind = _kind(levels, Steps(down, across), box, alone=len(own) == len(members))
            if kind:
                found.append((kind, box))
    return found


def _join(steps: Steps, shape: tuple[int, ...]) -> list[NDArray[np.intp]]:
    """Group the steps of cells that touch or are one cell apart in a row; return the indices of each group's steps."""
    rows, columns = steps
    down, across = -(-shape[0] // _CELL), -(-shape[1] // _CELL)
    cells = rows // _CELL * across + columns // _CELL
    full = (np.bincount(cells, minlength=down * across) >= _FEWEST).reshape(down, across)
    wide = full.copy()
    wide[:, 1:] |= full[:, :-1]
    wide[:, :-1] |= full[:, 1:]
    numbers = number_parts(wide)
    counted = np.flatnonzero(full.ravel()[cells])
    labels = numbers.ravel()[cells[counted]]
    order = np.argsort(labels, kind="stable")
    parts = np.split(counted[order], np.flatnonzero(np.diff(labels[order])) + 1)
    return [part for part in parts if len(part) >= _FEWEST_STEPS]


def number_parts(on: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Number the parts of a mask (H, W) that are connected by sides; ignore numbers outside the mask."""
    # Every run in a row has a number; numbers of runs that touch become the smaller of the two.
    begins = on.copy()
    begins[:, 1:] &= ~on[:, :-1]
    runs = np.cumsum(begins.ravel()).reshape(on.shape)
    touching = on[:-1] & on[1:]
    upper, lower = runs[:-1][touching], runs[1:][touching]
    number = np.arange(int(runs[-1, -1]) + 1) if runs.size else np.zeros(1, np.intp)
    while (number[upper] != number[lower]).any():
        smallest = np.minimum(number[upper], number[lower])
        np.minimum.at(number, upper, smallest)
        np.minimum.at(number, lower, smallest)
        number = number[number]
    return np.asarray(number[runs])


def _kind(levels: NDArray[np.uint8], steps: Steps, box: _Box, alone: bool) -> Kind | None:
    """Classify a group of steps in a box, None if unknown; ``alone`` means that no caliper is part of it."""
    (rows, columns), (left, top, right, bottom) = steps, box
    width, height = right - left, bottom - top
    filled = len(rows) / (width * height)
    fewest = _TEXT if width >= WIDER * height else _LINES
    if LOWEST <= height <= HIGHEST and width >= _NARROWEST and filled >= fewest:
        return "body mark" if alone and _is_one_drawing(levels, steps, box) else "text"
    if not alone:
        return None
    ink = np.sort(np.maximum(levels[rows, columns], levels[rows, columns + 1]))
    low, high = int(ink[len(ink) // 4]), int(ink[len(ink) * 9 // 10])
    even = low >= _BRIGHT and high - low <= _EVEN
    small, large = sorted((width, height))
    sized = small >= _SMALLEST_DRAWING and large <= _LARGEST_DRAWING * max(levels.shape) and filled >= _DRAWING
    if sized and (even or _is_one_drawing(levels, steps, box)):
        return "body mark"
    long = math.hypot(width, height) >= _SHORTEST_LINE
    return "dotted line" if even and long and _is_dotted(rows, columns) else None


def _is_one_drawing(levels: NDArray[np.uint8], steps: Steps, box: _Box) -> bool:
    """Whether thin connected strokes span the steps' box; ink is at least as bright as the median step's midpoint."""
    (rows, columns), (left, top, right, bottom) = steps, box
    # Twice the middle of each step.
    middles = np.sort(levels[rows, columns].astype(np.intp) + levels[rows, columns + 1])
    around = slice(max(top - _ROUND, 0), bottom + _ROUND), slice(max(left - _ROUND, 0), right + _ROUND)
    ink = 2 * levels[around].astype(np.intp) >= middles[len(middles) // 2]
    if np.count_nonzero(ink) > _MOST_INK * (right - left) * (bottom - top):
        return False
    joined = ink.copy()  # a pixel further down, so that strokes connect across corners and gaps of one row
    joined[1:] |= ink[:-1]
    numbers = number_parts(joined)
    for number in np.unique(numbers[joined]):
        own = joined & (numbers == number)
        across, down = np.flatnonzero(own.any(axis=0)), np.flatnonzero(own.any(axis=1))
        if np.ptp(across) >= _SPANS_WIDTH * (right - left) and np.ptp(down) >= _SPANS_HEIGHT * (bottom - top):
            return True
    return False


def _is_dotted(rows: NDArray[np.intp], columns: NDArray[np.intp]) -> bool:
    """Whether the steps form one straight line, long enough and with gaps."""
    points = np.stack([columns - columns.mean(), rows - rows.mean()])
    direction = np.linalg.eigh(points @ points.T)[1]
    across, along = direction.T @ points
    length = np.ptp(along)
    beside = np.sort(np.abs(across))[len(across) * 9 // 10]
    covered = len(np.unique(np.rint(along))) / (length + 1)
    return bool(length >= _SHORTEST_LINE and beside <= _STRAIGHT and covered <= _COVERED)
