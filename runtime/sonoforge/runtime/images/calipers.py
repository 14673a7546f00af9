"""Find caliper crosses burned into a scan: the ``+`` and ``x`` that a measurement leaves at its ends.

A grey-level hit-or-miss transform (Serra, *Image analysis and mathematical morphology*, 1982, chapter XII; Naegel,
Passat, Ronse, *Grey-level hit-or-miss transforms*, Pattern Recognition 40(2), 2007): a pixel is the centre of a cross
if the darkest pixel of its four arms is brighter, by a contrast, than the brightest pixel between them in three of the
four quarters; the fourth may hold its number.  One comparison over the whole picture leaves few candidates to follow.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# Arms of 3 to 9 pixels: crosses of BUSI (about 560 pixels wide) have 4 to 8, of BUS-BRA (at most 448) 3 to 5.
SHORTEST, LONGEST = 3, 9
_MARGIN = LONGEST + 2
# Contrast of a cross that counts by itself, and of one that counts with another of its kind, in levels of 255.  None
# of BrEaST's 256 scans, which have no calipers, has a pair of faint ones (``training/studies/marks``).
_CLEAR, _FAINT = 45, 25
# At least three arms end: two pixels further they are darker by this.  The fourth may run into a dotted line.
_END = 15
# The ink of a faint cross varies by at most this, which resampling and JPEG do to a thin stroke.
_EVEN = 40
# Two crosses are of one kind if arms and ink agree within this; ink varies by a few levels with JPEG.
_ARMS_AGREE, _INK_AGREES = 1, 20
# Pixels compared at a time, so that intermediate results stay in the processor's cache.
_AT_ONCE = 1 << 16
# Column and row of a step along each arm of a ``+``, and of an ``x``; between the arms of one lie those of the other.
_SHAPES = "+x"
_STEPS = np.array([[(0, 1), (1, 0), (0, -1), (-1, 0)], [(1, 1), (1, -1), (-1, -1), (-1, 1)]])


class Cross(NamedTuple):
    """One cross: its centre in pixels, shape, length of an arm, darkest level on its arms, contrast."""

    x: int
    y: int
    shape: str
    arm: int
    ink: int
    contrast: int

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, right and bottom; the last two are exclusive."""
        return self.x - self.arm, self.y - self.arm, self.x + self.arm + 1, self.y + self.arm + 1


def find_crosses(levels: NDArray[np.uint8]) -> list[Cross]:
    """Find the crosses of a picture (H, W) uint8, the clearest first."""
    padded = np.pad(levels, _MARGIN, mode="edge")
    found = _measured(padded, _candidates(padded))
    found.sort(key=lambda one: one.contrast * one.arm, reverse=True)
    kept: list[Cross] = []
    for one in found:
        if all(max(abs(one.x - other.x), abs(one.y - other.y)) > max(one.arm, other.arm) for other in kept):
            kept.append(one)

    def has_partner(one: Cross) -> bool:  # a measurement has two ends
        return any(
            one is not other
            and one.shape == other.shape
            and abs(one.arm - other.arm) <= _ARMS_AGREE
            and abs(one.ink - other.ink) <= _INK_AGREES
            for other in kept
        )

    return [one for one in kept if one.contrast >= _CLEAR or has_partner(one)]


def _candidates(padded: NDArray[np.uint8]) -> list[NDArray[np.intp]]:
    """Return the centres of each shape, as indices into the padded picture, whose arms outshine the places between.

    Three of the four places between the arms are dark. Above or below the centre of a ``+`` there is thus a bright
    place with a dark one on either side, and for an ``x`` a dark one between two bright ones: both are rare.
    """
    height, width = padded.shape
    line, beyond = padded.ravel(), SHORTEST * width
    rare = _ridges_and_valleys(line, beyond)
    dark = np.minimum(line[rare], np.maximum(line[rare - SHORTEST], line[rare + SHORTEST])).astype(np.int16)
    places = rare + np.array([[-beyond], [beyond]])
    places = places[line[places] - dark > _FAINT]  # the centre is bright, too
    rows, columns = np.divmod(places, width)
    inside = (rows >= _MARGIN) & (rows < height - _MARGIN) & (columns >= _MARGIN) & (columns < width - _MARGIN)
    # Each once; `numpy.unique` would import masked arrays first, for 8 ms.
    places = np.array(sorted(set(places[inside].tolist())), np.intp)
    around = line[places + SHORTEST * (_STEPS @ (width, 1))[..., None]].astype(np.int16)
    darkest = np.minimum(around.min(axis=1), line[places])
    high, low = np.maximum(around[:, :2], around[:, 2:]), np.minimum(around[:, :2], around[:, 2:])
    second = np.maximum(high.min(axis=1), low.max(axis=1))  # brightest of the four places
    return [places[bright] for bright in darkest - second[::-1] > _FAINT]


def _ridges_and_valleys(line: NDArray[np.uint8], first: int) -> NDArray[np.intp]:
    """Return the indices of pixels brighter, or darker, than both neighbours at the shortest arm's length on the line.

    All rows form one line, without its ``first`` and as many last pixels. Comparing it in parts is several times faster
    than row by row, or all at once.
    """
    faint = np.full(_AT_ONCE + 2 * SHORTEST, _FAINT, np.uint8)  # numpy compares two arrays faster than with a number
    found = []
    for begin in range(first, line.size - first, _AT_ONCE):
        end = min(begin + _AT_ONCE, line.size - first)
        part = line[begin - SHORTEST : end + SHORTEST]
        darker = np.maximum(part, faint[: len(part)]) - faint[: len(part)]
        left, right = slice(None, -2 * SHORTEST), slice(2 * SHORTEST, None)
        rare = darker[SHORTEST:-SHORTEST] > np.maximum(part[left], part[right])
        rare |= np.minimum(darker[left], darker[right]) > line[begin:end]
        found.append(np.flatnonzero(rare) + begin)
    return np.concatenate(found)


def _measured(padded: NDArray[np.uint8], candidates: list[NDArray[np.intp]]) -> list[Cross]:
    """Follow the arms from each of the `_candidates`; keep crosses with arms that end."""
    places = np.concatenate(candidates)
    if not len(places):
        return []
    shapes = np.repeat([0, 1], [len(own) for own in candidates])
    width = padded.shape[1]
    ways = (_STEPS @ (width, 1))[:, :, None] * np.arange(_MARGIN + 1)
    arms, between = (padded.ravel()[places[:, None, None] + ways[own]].astype(np.int16) for own in (shapes, 1 - shapes))
    darkest = np.minimum.accumulate(arms.min(axis=1), axis=1)
    between[:, :, :SHORTEST] = 0  # the stroke itself is up to three pixels wide
    brightest = np.maximum.accumulate(between, axis=2)
    contrast = darkest - np.sort(brightest, axis=1)[:, -2]
    contrast[:, :SHORTEST] = -255
    holds = contrast >= _FAINT
    last = np.where(holds.any(axis=1), _MARGIN - np.argmax(holds[:, ::-1], axis=1), 0)
    crosses = []
    for index in np.flatnonzero((last >= SHORTEST) & (last <= LONGEST)).tolist():
        arm = int(last[index])
        ink, clear = int(darkest[index, arm]), int(contrast[index, arm])
        # Lists, as a few numbers are faster without numpy.
        along = arms[index, :, 1 : arm + 3].tolist()
        ended = sum(ink - min(one[arm:]) >= _END for one in along) >= 3
        levels = [level for one in along for level in one[:arm]]
        if ended and (clear >= _CLEAR or max(levels) - min(levels) <= _EVEN):
            y, x = divmod(int(places[index]), width)
            crosses.append(Cross(x - _MARGIN, y - _MARGIN, _SHAPES[shapes[index]], arm, ink, clear))
    return crosses
