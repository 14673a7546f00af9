"""Find caliper crosses burned into a scan: the ``+`` and ``x`` that a measurement leaves at its ends.

A grey-level hit-or-miss transform (Serra, *Image analysis and mathematical morphology*, 1982, chapter XII; for grey
levels Naegel, Passat, Ronse, *Grey-level hit-or-miss transforms*, Pattern Recognition 40(2), 2007): a pixel is the
centre of a cross if the darkest pixel of its four arms is brighter, by a contrast, than the brightest pixel between
them in three of the four quarters; in the fourth may stand its number.  Tissue is smooth at the scale of a pen's
stroke, so it has hardly any such place.

One comparison at a distance of three pixels, for the whole picture at once, leaves a few candidates; only these are
followed along their arms.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# Arms of 3 to 9 pixels: crosses of BUSI (about 560 pixels wide) have 4 to 8, of BUS-BRA (at most 448) 3 to 5.
SHORTEST, LONGEST = 3, 9
_MARGIN = LONGEST + 2
# Contrast of a cross that counts by itself, and of one that counts with another of its kind, in levels of 255.  None
# of BrEaST's 256 scans, which have no calipers, has a pair of faint ones (``tests/benchmarks/burned_in_marks.py``).
_CLEAR, _FAINT = 45, 25
# At least three arms end: two pixels further they are darker by this.  The fourth may run into a dotted line.
_END = 15
# Ink of a faint cross is of one level, but for what resampling and JPEG do to a thin stroke.
_EVEN = 40
# Two crosses are of one kind if arms and ink agree within this; ink varies by a few levels with JPEG.
_ARMS_AGREE, _INK_AGREES = 1, 20
_STRAIGHT = np.array([(0, 1), (1, 0), (0, -1), (-1, 0)])
_DIAGONAL = np.array([(1, 1), (1, -1), (-1, -1), (-1, 1)])


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
        """Left, top, right and bottom, right and bottom exclusive."""
        return self.x - self.arm, self.y - self.arm, self.x + self.arm + 1, self.y + self.arm + 1


def find_crosses(levels: NDArray[np.uint8]) -> list[Cross]:
    """Find the crosses of a picture (H, W) uint8, the clearest first."""
    padded = np.pad(levels, _MARGIN, mode="edge")
    plus, cross = _candidates(padded, levels.shape)
    found = _measured(padded, plus, "+", (_STRAIGHT, _DIAGONAL)) + _measured(padded, cross, "x", (_DIAGONAL, _STRAIGHT))
    found.sort(key=lambda one: one.contrast * one.arm, reverse=True)
    kept: list[Cross] = []
    for one in found:
        if all(max(abs(one.x - other.x), abs(one.y - other.y)) > max(one.arm, other.arm) for other in kept):
            kept.append(one)
    return [one for one in kept if one.contrast >= _CLEAR or any(_of_a_kind(one, other) for other in kept)]


def _candidates(padded: NDArray[np.uint8], shape: tuple[int, ...]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the places, as indices into the padded picture, where four neighbours outshine the other four."""
    height, width = shape

    def moved(down: int, right: int) -> NDArray[np.uint8]:
        top, left = _MARGIN + SHORTEST * down, _MARGIN + SHORTEST * right
        return padded[top : top + height, left : left + width]

    def extremes(steps: NDArray[np.intp]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        a, b, c, d = (moved(*step) for step in steps.tolist())
        lower = np.minimum(a, b), np.minimum(c, d)
        upper = np.maximum(a, b), np.maximum(c, d)
        return np.minimum(*lower), np.maximum(np.minimum(*upper), np.maximum(*lower))

    straight, diagonal = extremes(_STRAIGHT), extremes(_DIAGONAL)
    centre = moved(0, 0)
    places = []
    for arms, between in ((straight, diagonal), (diagonal, straight)):
        limit = np.minimum(between[1], 255 - _FAINT) + np.uint8(_FAINT)
        rows, columns = np.divmod(np.flatnonzero(np.minimum(arms[0], centre) > limit), width)
        places.append((rows + _MARGIN) * padded.shape[1] + columns + _MARGIN)
    return places[0], places[1]


def _measured(
    padded: NDArray[np.uint8], places: NDArray[np.intp], shape: str, steps: tuple[NDArray[np.intp], NDArray[np.intp]]
) -> list[Cross]:
    """Follow the arms from each place; keep what is a cross with ends."""
    width = padded.shape[1]
    reach = np.arange(_MARGIN + 1)
    arms, between = (
        padded.ravel()[places[:, None, None] + (step @ (width, 1))[:, None] * reach].astype(np.int16) for step in steps
    )
    darkest = np.minimum.accumulate(arms.min(axis=1), axis=1)
    between[:, :, :SHORTEST] = 0  # the stroke itself is up to three pixels wide
    contrast = darkest - np.sort(np.maximum.accumulate(between, axis=2), axis=1)[:, 2]
    contrast[:, :SHORTEST] = -255
    holds = contrast >= _FAINT
    last = np.where(holds.any(axis=1), _MARGIN - np.argmax(holds[:, ::-1], axis=1), 0)
    crosses = []
    for index in np.flatnonzero((last >= SHORTEST) & (last <= LONGEST)).tolist():
        arm = int(last[index])
        ink = int(darkest[index, arm])
        uneven = int(np.ptp(arms[index, :, 1 : arm + 1]))
        beyond = np.sort(arms[index, :, arm + 1 : arm + 3].min(axis=1))
        if ink - beyond[2] >= _END and (contrast[index, arm] >= _CLEAR or uneven <= _EVEN):
            y, x = divmod(int(places[index]), width)
            crosses.append(Cross(x - _MARGIN, y - _MARGIN, shape, arm, ink, int(contrast[index, arm])))
    return crosses


def _of_a_kind(one: Cross, other: Cross) -> bool:
    """Whether two crosses look alike; a measurement has two ends."""
    return (
        one is not other
        and one.shape == other.shape
        and abs(one.arm - other.arm) <= _ARMS_AGREE
        and abs(one.ink - other.ink) <= _INK_AGREES
    )
