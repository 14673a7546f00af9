"""Find the scan in an exported screen, among banners, rulers, depth scales, grey bars and borders.

A scan is speckle; a screen is flat, with thin text and lines on it. There are five steps:

1. Cut the picture into cells; a cell is *textured* if few of its pixels have the cell's median level.
2. Close holes of one cell, then erase anything thinner than a share of the picture (text, rulers, bars, frames).
3. Keep the largest connected part, and parts below or above it that are as wide (a dark band may cut a scan in two).
4. Move each side of its box to the pixel at which the rows (or columns) turn flat.
5. Move it further while the picture continues: the profile along the side continues in smooth tissue, but not on a
   screen.

The constants were set on synthetic screens around scans of three collections; see ``runtime/docs/scan-area.md``.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from sonoforge.runtime.images.burned_in_marks import number_parts

# The longest side that is analysed; larger pictures are first averaged by a whole factor, which bounds the time.
_LONGEST = 1024
# Side of a cell in pixels: letters of a screen's smallest font are about this high.  4 for small pictures, whose scan
# would otherwise have too few cells.
_CELL, _SMALL_CELL, _SMALL = 8, 4, 512
# A cell is flat if at least this share of its pixels lies within one level of the median.  Thin letters leave about
# 0.6 of a cell to the background; speckle with a standard deviation of 2 levels leaves 0.55 within one level.
_FLAT_SHARE = 0.55
# Anything thinner than this share of the picture's short side is not a scan: text lines, rulers, grey bars.
_THINNEST = 0.07
# The smallest share of the picture's cells that can be a scan.
_SMALLEST = 0.03
# A further part belongs to the scan if it is at least this share as wide and lies within the scan's columns.
_AS_WIDE = 0.5
# A line is part of the scan while at least this share of its pixels differs from the neighbour; deep rows are darker.
# With 0.12 for columns too, rulers and grey bars of BUS-BRA's screens stayed; with 0.2 for rows too, dark depths went.
_ACTIVE_COLUMN, _ACTIVE_ROW = 0.2, 0.12
# Lines that may be flat in succession before the scan has ended.
_GAP = 2
# The smallest step between neighbours that counts as speckle, in levels of 255: at 1 the ringing of JPEG counts, at 3
# dark depths are cut.
_STEP = 2
# Where the search for a side starts, as a share of the box: further out may be a bar or text that the cells joined.
_COLUMNS_INSIDE, _ROWS_INSIDE = 0.25, 0.15
# Rows below the scan belong to its depth if their medians differ from its last rows by at most so many levels, and from
# the screen by more.
_SAME = 6
# Farthest that a side moves outwards from the cells, in cells: speckle too dark for step 1.
_REACH = 4
# Strips of so many lines continue each other while the profile of the next, smoothed over so many pixels, is not flat
# (standard deviation in levels), correlates with the one before, and is as bright (mean difference in levels).  A grey
# bar along the side correlates by chance, but lies behind a gap.
_STRIP, _SMOOTH = 8, 9
_ALIVE, _ALIKE, _AS_BRIGHT = 4.0, 0.7, 30.0
# A picture that continues over more than this share of the box is largely smooth, as a mammogram is: it is not cut.
_MOST_BEYOND = 0.05
# A rectangle fills its box; an annular sector of 60 degrees and more leaves at least a tenth of it empty (its corners).
_SECTOR_CORNER = 0.25

_Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class ScanArea:
    """Where the scan is."""

    box: tuple[int, int, int, int]  # left, top, right and bottom in pixels, the last two exclusive, as Pillow crops
    # ``rectangle`` (linear array), ``sector`` (curved array, phased array), or ``unknown``: no scan was found, or one
    # that continues beyond its texture (a mammogram), and ``box`` is the whole picture.
    outline: Literal["rectangle", "sector", "unknown"]
    kept: float  # the box's share of the picture's area, 0 to 1
    reason: str  # one line for a person


def find_scan_area(image: Image.Image | NDArray[np.uint8]) -> ScanArea:
    """Find the scan in an exported screen; a picture that is all scan comes back nearly whole.

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
    # A sector leaves both lower or both upper corners of its box empty, over an eighth of its sides.
    down, across = max(1, cells.shape[0] // 8), max(1, cells.shape[1] // 8)
    upper = max(cells[:down, :across].mean(), cells[:down, -across:].mean())
    lower = max(cells[-down:, :across].mean(), cells[-down:, -across:].mean())
    outline: Literal["rectangle", "sector"] = "sector" if min(upper, lower) < _SECTOR_CORNER else "rectangle"
    # A sector's narrow ends have little texture on both sides; any other picture that continues is not a screen.
    widened = outline == "sector" and box[0] < cut[0] and box[2] > cut[2]
    cut_area, area = ((own[2] - own[0]) * (own[3] - own[1]) for own in (cut, box))
    if area > (1 + _MOST_BEYOND) * cut_area and not widened:
        whole = (0, 0, grey.width, grey.height)
        return ScanArea(whole, "unknown", 1.0, "the picture goes on beyond its texture; the whole of it is kept")
    left, top, right, bottom = (int(min(edge * factor, limit)) for edge, limit in zip(box, grey.size * 2, strict=True))
    kept = (right - left) * (bottom - top) / (grey.width * grey.height)
    size = f"{right - left} x {bottom - top} of {grey.width} x {grey.height} pixels"
    return ScanArea((left, top, right, bottom), outline, kept, f"{outline} of {size}")


def _textured(levels: NDArray[np.uint8], side: int) -> NDArray[np.bool_]:
    """Find the cells of ``side`` x ``side`` pixels that are speckle, padding an incomplete last cell."""
    height, width = levels.shape
    padded = np.pad(levels, ((0, -height % side), (0, -width % side)), mode="reflect").astype(np.int16)
    down, across = padded.shape[0] // side, padded.shape[1] // side
    cells = padded.reshape(down, side, across, side).swapaxes(1, 2).reshape(down, across, side * side)
    median = np.partition(cells, side * side // 2, axis=2)[:, :, side * side // 2, None]
    flat: NDArray[np.bool_] = (np.abs(cells - median) <= 1).mean(axis=2) >= _FLAT_SHARE
    return ~flat


def _scan_cells(textured: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
    """Keep the cells of the scan: the largest part that survives opening, and parts above or below it."""
    thinnest = max(3, round(_THINNEST * min(textured.shape)) | 1)
    # The frame repeats the edge cells, so that filters do not erode a scan that reaches the picture's edge.
    grown = np.pad(textured, thinnest, mode="edge")
    mask = Image.fromarray(grown.astype(np.uint8) * 255)
    closed = mask.filter(ImageFilter.MaxFilter(3)).filter(ImageFilter.MinFilter(3))
    opened = closed.filter(ImageFilter.MinFilter(thinnest)).filter(ImageFilter.MaxFilter(thinnest))
    cells = np.asarray(opened)[thinnest:-thinnest, thinnest:-thinnest] > 0
    parts = _parts(cells)
    if not parts or np.count_nonzero(parts[0]) < _SMALLEST * cells.size:
        return None
    columns = [np.flatnonzero(part.any(axis=0)) for part in parts]
    kept, first, last = parts[0].copy(), columns[0][0], columns[0][-1]
    for part, own in zip(parts[1:], columns[1:], strict=True):
        if own[0] >= first - 1 and own[-1] <= last + 1 and own[-1] - own[0] >= _AS_WIDE * (last - first):
            kept |= part
    return kept


def _parts(cells: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
    """Return the mask of each part connected by sides, the largest first."""
    numbers = np.where(cells, number_parts(cells), -1)
    each = sorted(set(numbers[cells].tolist()))
    return sorted((numbers == number for number in each), key=np.count_nonzero, reverse=True)


def _refine(levels: NDArray[np.uint8], box: _Box, side: int) -> _Box:
    """Move each side, from well inside the cells outwards, to the pixel at which the scan ends.

    Columns are judged by differences downwards and rows by differences across, because JPEG's ringing beside a long
    straight edge runs along that edge.
    """
    height, width = levels.shape
    left, top, right, bottom = box
    right, bottom = min(right, width), min(bottom, height)

    def ends(active: NDArray[np.bool_], first: int, last: int, inside: int) -> tuple[int, int]:
        outwards = len(active) - 1 - (first + inside), inside + _REACH * side
        return len(active) - _end(active[::-1], *outwards), _end(active, last - 1 - inside, inside + _REACH * side)

    strip = levels[top:bottom].astype(np.int16)
    along = (np.abs(np.diff(strip, axis=0)) >= _STEP).mean(axis=0)
    left, right = ends(along >= _ACTIVE_COLUMN, left, right, round(_COLUMNS_INSIDE * (right - left)))
    strip = levels[:, left:right].astype(np.int16)
    across = (np.abs(np.diff(strip, axis=1)) >= _STEP).mean(axis=1)
    top, bottom = ends(across >= _ACTIVE_ROW, top, bottom, round(_ROWS_INSIDE * (bottom - top)))
    # Echoes fade with depth, so a scan may end in one dark level; it is kept where the screen has another level.
    depth = np.median(strip[max(bottom - side, top) :], axis=1)
    alike = np.abs(depth - np.median(depth[:side])) <= _SAME
    for edge in (levels[-1], levels[:, 0], levels[:, -1]):
        alike &= np.abs(depth - np.median(edge)) > _SAME
    bottom += int(np.argmin(np.append(alike[side:], False)))
    return left, top, right, bottom


def _continued(levels: NDArray[np.uint8], box: _Box) -> _Box:
    """Move each side outwards while the picture continues beyond it."""
    left, top, right, bottom = box
    right += _further(levels[top:bottom, right - _STRIP :].T)
    left -= _further(levels[top:bottom, left + _STRIP - 1 :: -1].T)
    bottom += _further(levels[bottom - _STRIP :, left:right])
    top -= _further(levels[top + _STRIP - 1 :: -1, left:right])
    return left, top, right, bottom


def _further(lines: NDArray[np.uint8]) -> int:
    """Return how many lines a side moves; ``lines`` start with the strip inside it and go outwards."""
    if lines.shape[0] < _STRIP or lines.shape[1] < 2 * _SMOOTH:
        return 0

    def profile(strip: NDArray[np.uint8]) -> NDArray[np.float64]:  # the mean level along the side, smoothed
        return np.asarray(np.convolve(strip.mean(axis=0), np.full(_SMOOTH, 1 / _SMOOTH), "valid"))

    before = profile(lines[:_STRIP])
    for begin in range(_STRIP, len(lines), _STRIP):
        after = profile(lines[begin : begin + _STRIP])
        if after.std() < _ALIVE or np.abs(after - before).mean() > _AS_BRIGHT:
            return begin - _STRIP
        if before.std() == 0 or np.corrcoef(before, after)[0, 1] < _ALIKE:
            return begin - _STRIP
        before = after
    return len(lines) - _STRIP


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
