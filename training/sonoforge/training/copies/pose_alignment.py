"""Lay one picture on another as well as an affine map can, and correlate what they show in common."""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np

from sonoforge.training.copies.pose_search import Matrix, Picture, Start, cell_of, detail, flip, warp

LEAST_OVERLAP = 0.2
"""Of the area of either picture; less can agree by chance."""

# Sides of the detail in cells of the search. The coarser finds the way.  The finer decides: in it, an outline that all
# pictures share is a small part and tissue a large one. Mammograms of different women agree at 0.62 (95th percentile)
# in the coarser, at 0.4 in the finer.
_COARSER, _FINER = 0.5, 0.3
_STEPS, _PRECISION = 30, 1e-3  # of each iteration
_MOST_STRETCH = 1.35  # of one axis against the other; scans of one view differ by less, a collapsing map by more
_SCALES = (0.5, 2.0)


class Alignment(NamedTuple):
    """How well a query matches a key."""

    correlation: float  # of fine detail where both are seen, in [-1, 1]; -1 where they cannot be laid on each other
    overlap: float  # smaller share of the two areas that both show, in [0, 1]
    matrix: Matrix  # see `pose_search.Matrix`; the query flipped first, if it is


def align(query: Picture, key: Picture, start: Start) -> Alignment:
    """Refine a start by enhanced correlation (Evangelidis and Psarakis, PAMI 30, 2008) and judge the better of both.

    The correlation is zero-mean and normalised, over the pixels of the query that the key covers.
    """
    shown, sign = flip(query, start.mirrored, start.upside_down), -1 if start.inverted else 1
    matrix = start.matrix
    for size in (_COARSER, _FINER):
        fixed, moving = detail(shown, size * cell_of(shown)), sign * detail(key, size * cell_of(key))
        matrix = _refine(fixed, moving, matrix)
    return max((_judge(fixed, moving, tried) for tried in (start.matrix, matrix)), key=lambda found: found.correlation)


def _refine(fixed: Picture, moving: Picture, matrix: Matrix) -> Matrix:
    criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, _STEPS, _PRECISION)
    begin = matrix.astype(np.float32)
    try:
        _, refined = cv2.findTransformECC(fixed, moving, begin, cv2.MOTION_AFFINE, criteria, None, 3)  # type: ignore[call-overload]
    except cv2.error:  # it does not converge, as for most pictures that have nothing in common
        return matrix
    return np.asarray(refined, np.float64)


def _judge(fixed: Picture, moving: Picture, matrix: Matrix) -> Alignment:
    nothing = Alignment(-1.0, 0.0, matrix)
    (a, b), (c, d) = matrix[:, :2].tolist()
    area = a * d - b * c  # pixels of the key for one of the query
    half, root = (a * a + b * b + c * c + d * d) / 2, math.hypot(a * a - d * d + c * c - b * b, 2 * (a * b + c * d)) / 2
    largest, smallest = math.sqrt(half + root), math.sqrt(max(half - root, 0))  # singular values
    if area <= 0 or smallest < _SCALES[0] or largest > _SCALES[1] or largest > _MOST_STRETCH * smallest:
        return nothing
    seen = warp(np.ones_like(moving), matrix, fixed.shape) > 0.999
    overlap = seen.sum() * min(1 / fixed.size, area / moving.size)
    if overlap < LEAST_OVERLAP:
        return nothing
    one, other = fixed[seen], warp(moving, matrix, fixed.shape)[seen]
    one, other = one - one.mean(), other - other.mean()
    energy = float(np.sqrt((one @ one) * (other @ other)))
    return Alignment(float(one @ other) / energy, float(overlap), matrix) if energy > 0 else nothing
