"""The similarity transform that most feature matches of two pictures agree on.

Each match of two SIFT keypoints fixes a whole similarity transform: their sizes give the scale, their angles the turn,
their places the shift.  So every match is a hypothesis, and the one that most other matches agree with wins (the
exhaustive form of Lowe 2004, section 7.3; no random sampling, so the answer is always the same).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sonoforge.training.copies.local_features import LocalFeatures

MOST_MATCHES = 80  # nearest first; a transform needs few, and the comparison of all with all grows as the square
_PIXELS = 8.0  # distance within which a match agrees with a transform, in the larger of the two pictures
_OCTAVES = 0.6  # the same of its scale
_RADIANS = 0.5  # and of its turn
_LARGEST_SCALE = 4.0
_ENOUGH_FOR_AFFINE = 8  # places; six numbers from fewer follow the noise
_REFITS = 2


class Alignment(NamedTuple):
    """What feature matches say of two pictures."""

    # (2, 3) float64: takes a point (x, y, 1) of the first picture to the second, in pixels of the fitted pictures.
    matrix: NDArray[np.float64]
    agreeing: int  # number of matches, at different places, that agree with it


def _match(first: LocalFeatures, second: LocalFeatures) -> NDArray[np.int64]:
    """Return (M, 2) indices of features that are each other's nearest, nearest pairs first, at most `MOST_MATCHES`."""
    if not len(first.descriptors) or not len(second.descriptors):
        return np.empty((0, 2), np.int64)
    a, b = first.descriptors.astype(np.float32), second.descriptors.astype(np.float32)
    distance = (a * a).sum(1)[:, None] + (b * b).sum(1) - 2 * a @ b.T
    nearest = distance.argmin(axis=1)
    own = np.flatnonzero(distance.argmin(axis=0)[nearest] == np.arange(len(a)))
    order = own[np.argsort(distance[own, nearest[own]], kind="stable")[:MOST_MATCHES]]
    return np.stack((order, nearest[order]), axis=1)


def align(first: LocalFeatures, second: LocalFeatures) -> Alignment | None:
    """Find the similarity transform that most matches of two pictures agree on; None without two that agree."""
    matches = _match(first, second)
    if len(matches) < 2:
        return None
    i, j = matches.T
    p: NDArray[np.float64] = np.asarray(first.points[i], np.float64)
    q: NDArray[np.float64] = np.asarray(second.points[j], np.float64)
    ratio = np.asarray(second.sizes[j] / first.sizes[i], np.float64)
    turn = (second.angles[j] - first.angles[i]).astype(np.float64)
    a, b = ratio * np.cos(turn), ratio * np.sin(turn)
    shift_x = q[:, 0] - (a * p[:, 0] - b * p[:, 1])
    shift_y = q[:, 1] - (b * p[:, 0] + a * p[:, 1])
    off_x = a[:, None] * p[:, 0] - b[:, None] * p[:, 1] + shift_x[:, None] - q[:, 0]
    off_y = b[:, None] * p[:, 0] + a[:, None] * p[:, 1] + shift_y[:, None] - q[:, 1]
    octaves = np.log2(ratio)
    between = (turn[:, None] - turn + np.pi) % (2 * np.pi) - np.pi
    agree = (
        (np.hypot(off_x, off_y) < _PIXELS * np.maximum(1, ratio)[:, None])
        & (np.abs(octaves[:, None] - octaves) < _OCTAVES)
        & (np.abs(between) < _RADIANS)
        & (np.abs(octaves) < np.log2(_LARGEST_SCALE))[:, None]
    )
    best = int(agree.sum(axis=1).argmax())
    inside = agree[best]
    if _places(p[inside]) < 2:
        return None
    reach = _PIXELS * max(1.0, float(ratio[best]))
    matrix = _similarity(p[inside], q[inside])
    for _ in range(_REFITS):
        if _places(p[inside]) < _ENOUGH_FOR_AFFINE:
            break
        matrix = _affine(p[inside], q[inside])
        off = p @ matrix[:, :2].T + matrix[:, 2] - q
        inside = (off * off).sum(axis=1) < reach**2
    if abs(np.linalg.det(matrix[:, :2])) < _LARGEST_SCALE**-2:
        return None
    return Alignment(matrix, _places(p[inside]))


def _places(points: NDArray[np.float64]) -> int:
    """Count different places: a keypoint with several directions gives several matches, but says one thing."""
    return len(np.unique(np.round(points), axis=0))


def _affine(p: NDArray[np.float64], q: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fit q = affine(p) by least squares, (K, 2) points each: a copy may be stretched to another shape."""
    solution = np.linalg.lstsq(np.column_stack((p, np.ones(len(p)))), q, rcond=None)[0]
    return np.asarray(solution.T, np.float64)


def _similarity(p: NDArray[np.float64], q: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fit q = similarity(p) by least squares: (K, 2) points each, at two different places or more."""
    middle_p, middle_q = p.mean(axis=0), q.mean(axis=0)
    u, v = p - middle_p, q - middle_q
    energy = max(float((u * u).sum()), 1e-9)
    a = float((u * v).sum()) / energy
    b = float((u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]).sum()) / energy
    linear = np.array([[a, -b], [b, a]], np.float64)
    matrix: NDArray[np.float64] = np.column_stack((linear, middle_q - linear @ middle_p))
    return matrix
