"""Find where the scan lies in an exported screen: among banners, rulers, depth scales, grey bars and borders.

A scan is speckle: hardly two neighbouring pixels are equal.  A screen is flat: one colour, with thin text and lines on
it.  The method follows from that, in five steps:

1. Cut the picture into cells; a cell is *textured* if few of its pixels have the cell's median level.
2. Close holes of one cell, then erase what is thinner than a share of the picture (text, rulers, bars, frames).
3. Keep the largest connected part, and parts below or above it that are as wide (a dark band may cut a scan in two).
4. Move each side of its box to the pixel at which the rows (or columns) turn flat.
5. Move it on while the picture goes on there: smooth tissue (a cyst at the edge, the skin of a breast) is not textured,
   but its profile along the side goes on as it was, and a screen's does not.

The constants are set on synthetic screens round scans of BUSI, BUS-BRA and BrEaST
(``training/studies/marks/scan_area.py``; figures in ``runtime/docs/scan-area.md``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

# The longest side that is analysed; larger pictures are averaged by a whole factor first, so that time stays bounded.
_LONGEST = 1024
# Side of a cell in pixels: letters of a screen's smallest font are about this high.  4 for small pictures, whose scan
# would otherwise have too few cells.
_CELL = 8
_SMALL_CELL = 4
_SMALL = 512
# A cell is flat if at least this share of its pixels lies within one level of the median.  Thin letters leave about
# 0.6 of a cell to the background; speckle with a standard deviation of 2 levels leaves 0.55 within one level.
_FLAT_SHARE = 0.55
# What is thinner than this share of the picture's short side is no scan: text lines, rulers, grey bars.
_THINNEST = 0.07
# The smallest share of the picture's cells that can be a scan.
_SMALLEST = 0.03
# A further part belongs to the scan if it is at least this share as wide and lies within the scan's columns.
_AS_WIDE = 0.5
# A line is the scan's while at least this share of its pixels differs from the neighbour; rows at depth are darker.
# With 0.12 for columns too, rulers and grey bars of BUS-BRA's screens stayed; with 0.2 for rows too, dark depths went.
_ACTIVE_COLUMN = 0.2
_ACTIVE_ROW = 0.12
# Rows that may be flat in a row before the scan has ended, in pixels.
_GAP = 2
# The smallest step between neighbours that counts as speckle, in levels of 255: at 1 the ringing of JPEG counts, at 3
# dark depths are cut.
_STEP = 2
# Where the search for a side starts, as a share of the box: outside it may be a bar or text that the cells joined.
_COLUMNS_INSIDE = 0.25
_ROWS_INSIDE = 0.15
# Rows below the scan belong to its depth if their medians differ from its last rows by at most so many levels, and from
# the screen by more.
_SAME = 6
# Farthest that a side moves outwards from the cells, in cells: speckle too dark for step 1.
_REACH = 4
# Strips of so many lines follow each other while the profile of the next, smoothed over so many pixels, is not flat
# (standard deviation in levels), correlates with the one before, and is as bright (mean difference in levels).  A grey
# bar along the side correlates by chance, but lies behind a gap.
_STRIP, _SMOOTH = 8, 9
_ALIVE, _ALIKE, _AS_BRIGHT = 4.0, 0.7, 30.0
# A picture that goes on over more than this share of the box is smooth in good part, as a mammogram is: not cut at all.
_MOST_BEYOND = 0.05
# A rectangle fills its box; an annular sector of 60 degrees and more leaves at least a tenth of it empty (its corners).
_SECTOR_CORNER = 0.25


@dataclass(frozen=True)
class ScanArea:
    """Where the scan lies."""

    # Left, top, right and bottom in pixels, right and bottom exclusive, as Pillow's ``crop`` takes it.
    box: tuple[int, int, int, int]
    # ``rectangle`` (linear array), ``sector`` (curved array, phased array), or ``unknown``: no scan was found,
    # or one that goes on beyond its texture (a mammogram), and ``box`` is the whole picture.
    outline: Literal["rectangle", "sector", "unknown"]
    kept: float  # the box's share of the picture's area, 0 to 1
    reason: str  # one line for a person


def find_scan_area(image: Image.Image | NDArray[np.uint8]) -> ScanArea:
    """Find the scan in an exported screen; a picture that is all scan comes back nearly whole.

    Examples:
        >>> import numpy as np
        >>> screen = np.zeros((600, 800), np.uint8)
        >>> screen[100:500, 150:650] = np.random.default_rng(0).integers(20, 200, (400, 500))
        >>> find_scan_area(screen).box
        (150, 100, 650, 500)

    Args:
        image: A Pillow image, or an array (H, W) of grey or (H, W, 3) of red, green and blue, uint8.
    """
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    grey = picture.convert("L")
    factor = max(1, math.ceil(max(grey.size) / _LONGEST))
    levels = np.asarray(grey.reduce(factor) if factor > 1 else grey)
    side = _CELL if max(levels.shape) >= _SMALL else _SMALL_CELL
    textured = _textured(levels, side)
    part = _scan_cells(textured)
    if part is None:
        return ScanArea((0, 0, grey.width, grey.height), "unknown", 1.0, "no textured area; the whole picture is kept")
    rows, columns = np.flatnonzero(part.any(1)), np.flatnonzero(part.any(0))
    cells = part[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    cut = _refine(levels, (columns[0] * side, rows[0] * side, (columns[-1] + 1) * side, (rows[-1] + 1) * side), side)
    box = _continued(levels, cut)
    outline: Literal["rectangle", "sector"] = "sector" if _has_empty_corners(cells) else "rectangle"
    # A sector's narrow ends are little texture on both sides; what goes on otherwise is no speckle in a screen.
    widened = outline == "sector" and box[0] < cut[0] and box[2] > cut[2]
    if _area(box) > (1 + _MOST_BEYOND) * _area(cut) and not widened:
        whole = (0, 0, grey.width, grey.height)
        return ScanArea(whole, "unknown", 1.0, "the picture goes on beyond its texture; the whole of it is kept")
    left, top, right, bottom = (
        int(min(edge * factor, limit))
        for edge, limit in zip(box, (grey.width, grey.height, grey.width, grey.height), strict=True)
    )
    kept = (right - left) * (bottom - top) / (grey.width * grey.height)
    size = f"{right - left} x {bottom - top} of {grey.width} x {grey.height} pixels"
    return ScanArea((left, top, right, bottom), outline, kept, f"{outline} of {size}")


def _textured(levels: NDArray[np.uint8], side: int) -> NDArray[np.bool_]:
    """Say of each cell of ``side`` x ``side`` pixels whether it is speckle; an incomplete last cell is padded."""
    height, width = levels.shape
    padded = np.pad(levels, ((0, -height % side), (0, -width % side)), mode="reflect").astype(np.int16)
    down, across = padded.shape[0] // side, padded.shape[1] // side
    cells = padded.reshape(down, side, across, side).swapaxes(1, 2).reshape(down, across, side * side)
    median = np.partition(cells, side * side // 2, axis=2)[:, :, side * side // 2, None]
    flat: NDArray[np.bool_] = (np.abs(cells - median) <= 1).mean(axis=2) >= _FLAT_SHARE
    return ~flat


def _scan_cells(textured: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
    """Keep the cells of the scan: the largest part that survives opening, and parts of one column with it."""
    thinnest = max(3, round(_THINNEST * min(textured.shape)) | 1)
    # The frame repeats the edge cells, so that filters do not eat a scan that reaches the picture's edge.
    grown = np.pad(textured, thinnest, mode="edge")
    mask = Image.fromarray(grown.astype(np.uint8) * 255)
    closed = mask.filter(ImageFilter.MaxFilter(3)).filter(ImageFilter.MinFilter(3))
    opened = closed.filter(ImageFilter.MinFilter(thinnest)).filter(ImageFilter.MaxFilter(thinnest))
    cells = np.asarray(opened)[thinnest:-thinnest, thinnest:-thinnest] > 0
    parts = _parts(cells)
    if not parts or len(parts[0]) < _SMALLEST * cells.size:
        return None
    kept = np.zeros_like(cells)
    kept[tuple(parts[0].T)] = True
    first, last = parts[0][:, 1].min(), parts[0][:, 1].max()
    for part in parts[1:]:
        start, end = part[:, 1].min(), part[:, 1].max()
        if start >= first - 1 and end <= last + 1 and end - start >= _AS_WIDE * (last - first):
            kept[tuple(part.T)] = True
    return kept


def _parts(cells: NDArray[np.bool_]) -> list[NDArray[np.intp]]:
    """Split into parts connected by sides, the largest first, each as (row, column) pairs."""
    width = cells.shape[1]
    left = set(np.flatnonzero(cells).tolist())
    parts = []
    while left:
        stack = [left.pop()]
        found = []
        while stack:
            at = stack.pop()
            found.append(at)
            column = at % width
            sides = ((at - 1, column > 0), (at + 1, column < width - 1), (at - width, True), (at + width, True))
            for near, inside in sides:
                if inside and near in left:
                    left.remove(near)
                    stack.append(near)
        parts.append(np.stack(np.divmod(np.array(found), width), axis=1))
    return sorted(parts, key=len, reverse=True)


def _refine(levels: NDArray[np.uint8], box: tuple[int, int, int, int], side: int) -> tuple[int, int, int, int]:
    """Move each side, from well inside the cells outwards, to the pixel at which the scan ends.

    Columns are judged by differences downwards and rows by differences across, because the ringing that JPEG leaves
    beside a long straight edge runs along that edge.
    """
    height, width = levels.shape
    left, top, right, bottom = box
    right, bottom = min(right, width), min(bottom, height)
    strip = levels[top:bottom].astype(np.int16)
    along = (np.abs(np.diff(strip, axis=0)) >= _STEP).mean(axis=0)
    inside = round(_COLUMNS_INSIDE * (right - left))
    outer_left = width - _end(along[::-1] >= _ACTIVE_COLUMN, width - 1 - (left + inside), inside + _REACH * side)
    right = _end(along >= _ACTIVE_COLUMN, right - 1 - inside, inside + _REACH * side)
    left = outer_left
    strip = levels[:, left:right].astype(np.int16)
    across = (np.abs(np.diff(strip, axis=1)) >= _STEP).mean(axis=1)
    inside = round(_ROWS_INSIDE * (bottom - top))
    outer_top = height - _end(across[::-1] >= _ACTIVE_ROW, height - 1 - (top + inside), inside + _REACH * side)
    bottom = _end(across >= _ACTIVE_ROW, bottom - 1 - inside, inside + _REACH * side)
    top = outer_top
    # Echoes fade with depth, so a scan may end in one dark level: told from the screen where that has another.
    depth = np.median(strip[max(bottom - side, top) :], axis=1)
    alike = np.abs(depth - np.median(depth[:side])) <= _SAME
    for edge in (levels[-1], levels[:, 0], levels[:, -1]):
        alike &= np.abs(depth - np.median(edge)) > _SAME
    bottom += int(np.argmin(np.append(alike[side:], False)))
    return left, top, right, bottom


def _continued(levels: NDArray[np.uint8], box: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """Move each side outwards while the picture goes on beyond it."""
    left, top, right, bottom = box
    right += _further(levels[top:bottom, right - _STRIP :].T)
    left -= _further(levels[top:bottom, left + _STRIP - 1 :: -1].T)
    bottom += _further(levels[bottom - _STRIP :, left:right])
    top -= _further(levels[top + _STRIP - 1 :: -1, left:right])
    return left, top, right, bottom


def _area(box: tuple[int, int, int, int]) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])


def _further(lines: NDArray[np.uint8]) -> int:
    """Return by how many lines a side moves: ``lines`` begin with the strip inside it and go outwards."""
    if lines.shape[0] < _STRIP or lines.shape[1] < 2 * _SMOOTH:
        return 0
    before = _profile(lines[:_STRIP])
    for begin in range(_STRIP, len(lines), _STRIP):
        after = _profile(lines[begin : begin + _STRIP])
        if after.std() < _ALIVE or np.abs(after - before).mean() > _AS_BRIGHT:
            return begin - _STRIP
        if before.std() == 0 or np.corrcoef(before, after)[0, 1] < _ALIKE:
            return begin - _STRIP
        before = after
    return len(lines) - _STRIP


def _profile(strip: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Mean level along a side, smoothed."""
    return np.asarray(np.convolve(strip.mean(axis=0), np.full(_SMOOTH, 1 / _SMOOTH), "valid"))


def _end(active: NDArray[np.bool_], start: int, reach: int) -> int:
    """Return the index after the last active line, going up from ``start`` until more than ``_GAP`` lines are flat."""
    end, flat = start + 1, 0
    for index in range(start, min(start + reach, len(active))):
        flat = 0 if active[index] else flat + 1
        if not flat:
            end = index + 1
        elif flat > _GAP:
            break
    return end


def _has_empty_corners(cells: NDArray[np.bool_]) -> bool:
    """Say whether both lower or both upper corners of the box are empty, over an eighth of its sides."""
    down, across = max(1, cells.shape[0] // 8), max(1, cells.shape[1] // 8)
    upper = max(cells[:down, :across].mean(), cells[:down, -across:].mean())
    lower = max(cells[-down:, :across].mean(), cells[-down:, -across:].mean())
    return bool(min(upper, lower) < _SECTOR_CORNER)
