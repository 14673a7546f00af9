"""Find what is written or drawn into a scan: text, body marks, dotted lines.

A scan is blurred by its beam, so neighbouring pixels of tissue hardly ever differ by much; ink has edges of one pixel
(looking for dense sharp steps is the oldest way to find text: Wu, Manmatha, Riseman, *TextFinder*, IEEE TPAMI
21(11), 1999; Jung, Kim, Jain, *Text information extraction in images and video: a survey*, Pattern Recognition 37(5),
2004, section 3.2).  Steps between horizontal neighbours are collected in cells, cells are joined to groups, and a
group is classified by its shape, how densely it is filled, and whether its ink has one level and is connected.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Kind = Literal["caliper", "dotted line", "text", "body mark", "drawing"]
_Box = tuple[int, int, int, int]

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


def sharp_steps(levels: NDArray[np.uint8]) -> Steps:
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


def find_lettering(levels: NDArray[np.uint8], steps: Steps, calipers: list[_Box]) -> list[tuple[Kind, _Box]]:
    """Find text, body marks and dotted lines of a picture (H, W) uint8 from its `sharp_steps`.

    A group of steps that reaches into the box of a caliper is neither a body mark nor a line of its own.

    Returns:
        Kind and box of each: left, top, right, bottom, the last two exclusive.
    """
    rows, columns = steps
    if len(rows) < _FEWEST_STEPS:
        return []
    taken = np.zeros(len(rows), np.bool_)
    for left, top, right, bottom in calipers:
        taken |= (rows >= top - 1) & (rows <= bottom) & (columns >= left - 2) & (columns <= right)
    found = []
    for members in join(steps, levels.shape):
        own = members[~taken[members]]
        if len(own) >= _FEWEST_STEPS:
            kind = _kind(levels, rows[own], columns[own], alone=len(own) == len(members))
            if kind:
                found.append((kind, _box(rows[own], columns[own])))
    return found


def join(steps: Steps, shape: tuple[int, ...]) -> list[NDArray[np.intp]]:
    """Group the steps of cells that touch, or lie one cell apart in a row; return the indices of each group's steps."""
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
    """Number the parts of a mask (H, W) that are connected by sides; numbers outside the mask are meaningless."""
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


def _box(rows: NDArray[np.intp], columns: NDArray[np.intp]) -> _Box:
    return int(columns.min()), int(rows.min()), int(columns.max()) + 2, int(rows.max()) + 1


def _kind(levels: NDArray[np.uint8], rows: NDArray[np.intp], columns: NDArray[np.intp], alone: bool) -> Kind | None:
    """Classify a group of steps, None if unknown; ``alone``: no caliper is part of it."""
    left, top, right, bottom = _box(rows, columns)
    width, height = right - left, bottom - top
    filled = len(rows) / (width * height)
    fewest = _TEXT if width >= WIDER * height else _LINES
    if LOWEST <= height <= HIGHEST and width >= _NARROWEST and filled >= fewest:
        return "body mark" if alone and _is_one_drawing(levels, rows, columns) else "text"
    if not alone:
        return None
    ink = np.sort(np.maximum(levels[rows, columns], levels[rows, columns + 1]))
    low, high = int(ink[len(ink) // 4]), int(ink[len(ink) * 9 // 10])
    even = low >= _BRIGHT and high - low <= _EVEN
    small, large = sorted((width, height))
    sized = small >= _SMALLEST_DRAWING and large <= _LARGEST_DRAWING * max(levels.shape) and filled >= _DRAWING
    if sized and (even or _is_one_drawing(levels, rows, columns)):
        return "body mark"
    return "dotted line" if even and is_dotted(rows, columns) else None


def _is_one_drawing(levels: NDArray[np.uint8], rows: NDArray[np.intp], columns: NDArray[np.intp]) -> bool:
    """Whether thin connected strokes span the steps' box; ink is at least as bright as the median step's middle."""
    left, top, right, bottom = _box(rows, columns)
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


def is_dotted(rows: NDArray[np.intp], columns: NDArray[np.intp]) -> bool:
    """Whether the steps lie on one straight line, long enough and with gaps."""
    points = np.stack([columns - columns.mean(), rows - rows.mean()])
    direction = np.linalg.eigh(points @ points.T)[1]
    across, along = direction.T @ points
    length = np.ptp(along)
    beside = np.sort(np.abs(across))[len(across) * 9 // 10]
    covered = len(np.unique(np.rint(along))) / (length + 1)
    return bool(length >= _SHORTEST_LINE and beside <= _STRAIGHT and covered <= _COVERED)
