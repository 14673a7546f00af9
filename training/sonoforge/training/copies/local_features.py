"""Find local features of a picture, and the transform from one picture's features to another's.

SIFT (Lowe, "Distinctive image features from scale-invariant keypoints", IJCV 60(2), 2004) as OpenCV implements it.  The
descriptor is a 4x4 grid of histograms of 8 gradient directions, laid out along the keypoint's own direction.  Mirroring
a picture reverses the grid's rows and the sense of the directions; inverting it rotates every gradient by half a turn,
so the grid is read from its other end.  Both are permutations of the 128 numbers: one extraction serves all four
`LOOKS`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from sonoforge.training.copies.pictures import Look, Picture, fit, on_disk

# Pictures are shared out among threads, and gain nothing from more of OpenCV's own.
cv2.setNumThreads(1)

MOST_FEATURES = 400
_MOST_HALVED = 250  # of a picture of at most 128 pixels; a scan of 64 pixels has some 330 in all
# Lowe's 0.04 is for photographs; half of the textured area of an ultrasound scan lies below it.
_CONTRAST = 0.005
_EDGES = 15.0  # ratio of the principal curvatures; Lowe's 10 loses layers of tissue

_GRID = np.arange(128).reshape(4, 4, 8)
_MIRRORED = _GRID[::-1, :, -np.arange(8) % 8].reshape(-1)
_INVERTED = _GRID[::-1, ::-1].reshape(-1)
HALF_MIRRORED = (_GRID[::-1].reshape(-1), _GRID[:, :, -np.arange(8) % 8].reshape(-1))
"""Orders of a descriptor's numbers that no copy has: places mirrored without directions, and the reverse."""

LOOKS = tuple(Look(mirrored, inverted) for mirrored, inverted in itertools.product((False, True), repeat=2))

MOST_MATCHES = 80  # nearest first; a transform needs few, and comparing all with all grows as the square
_PIXELS = 8.0  # distance within which a match agrees with a transform, in the larger of the two pictures
_OCTAVES = 0.6  # the same for its scale
_RADIANS = 0.5  # and for its turn
_LARGEST_SCALE = 4.0
_ENOUGH_FOR_AFFINE = 8  # places; six numbers fitted to fewer follow the noise
_REFITS = 2
_COMPLEX = np.array([1, 1j])  # makes complex numbers of points


class LocalFeatures(NamedTuple):
    """The K strongest keypoints of one picture, in pixels of the fitted picture."""

    width: int  # of the fitted picture
    height: int
    points: NDArray[np.float32]  # (K, 2), x to the right and y downwards
    sizes: NDArray[np.float32]  # (K,) diameter of the neighbourhood
    angles: NDArray[np.float32]  # (K,) radians from x towards y
    descriptors: NDArray[np.uint8]  # (K, 128)

    def seen(self, look: Look) -> LocalFeatures:
        """Return the features of the mirror image, of the negative, or of both."""
        points, angles = self.points, self.angles
        if look.inverted:
            angles = angles + np.float32(np.pi)
        if look.mirrored:
            points = np.stack((self.width - 1 - points[:, 0], points[:, 1]), axis=1)
            angles = np.float32(np.pi) - angles
        return self._replace(points=points, angles=angles, descriptors=self.descriptors[:, descriptor_order(look)])


def descriptor_order(look: Look) -> NDArray[np.int64]:
    """Return the (128,) places of a descriptor's numbers in the descriptor of the mirror image or negative."""
    order = _INVERTED if look.inverted else np.arange(128)
    return order[_MIRRORED] if look.mirrored else order


def extract_features(picture: Picture) -> LocalFeatures:
    """Find the strongest local features of a grey (H, W) uint8 picture after `fit`; 20 ms on one core."""
    return _extract(fit(picture), MOST_FEATURES)


def extract_halved(picture: Picture) -> LocalFeatures:
    """Find the features, at half its size, of a picture that was enlarged twofold or more; 8 ms on one core.

    SIFT doubles a picture first, so the finest octave of an enlarged one shows nothing.
    """
    height, width = picture.shape
    half = cv2.resize(picture, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    found = _extract(np.asarray(half, np.uint8), _MOST_HALVED)
    return found._replace(width=width, height=height, points=2 * found.points + np.float32(0.5), sizes=2 * found.sizes)


def _extract(fitted: Picture, most: int) -> LocalFeatures:
    detector = cv2.SIFT.create(nfeatures=most, contrastThreshold=_CONTRAST, edgeThreshold=_EDGES)
    # OpenCV returns None instead of an empty table where it finds nothing, which its stubs do not say.
    keypoints, found = detector.detectAndCompute(fitted, np.empty(0, np.uint8))
    descriptors = np.empty((0, 128), np.float32) if not keypoints else np.asarray(found, np.float32)
    rows = np.array([(*point.pt, point.size, point.angle) for point in keypoints], np.float32).reshape(-1, 4)
    rows = rows[:most]  # OpenCV returns all keypoints that tie with the last one
    height, width = fitted.shape
    return LocalFeatures(
        width, height, rows[:, :2], rows[:, 2], np.deg2rad(rows[:, 3]), descriptors[:most].astype(np.uint8)
    )


def keep_on_disk(features: Iterable[LocalFeatures]) -> list[LocalFeatures]:
    """Keep the features of many pictures in a temporary file; see `pictures.on_disk`."""
    sizes: list[tuple[int, int]] = []

    def arrays() -> Iterator[NDArray[Any]]:
        for one in features:
            sizes.append((one.width, one.height))
            yield from (one.points, one.sizes, one.angles, one.descriptors)

    kept = iter(on_disk(arrays()))
    return [LocalFeatures(width, height, *itertools.islice(kept, 4)) for width, height in sizes]


class Alignment(NamedTuple):
    """The transform between two pictures that their feature matches support."""

    # (2, 3) float64: takes a point (x, y, 1) of the first picture to the second, in pixels of the fitted pictures.
    matrix: NDArray[np.float64]
    agreeing: int  # number of matches, at different places, that agree with it


def align(first: LocalFeatures, second: LocalFeatures) -> Alignment | None:
    """Find the similarity transform that most matches of two pictures agree on; None without two that agree.

    Each match of two keypoints defines a whole transform: their sizes give the scale, their angles the rotation, their
    places the shift. Every match is thus a hypothesis, and the one that most other matches agree with wins (the
    exhaustive form of Lowe 2004, section 7.3; no random sampling, so the answer is always the same).  If enough agree,
    an affine map is fitted, because a copy may be stretched.
    """
    matches = _match(first, second)
    if len(matches) < 2:
        return None
    i, j = matches.T
    p, q = np.asarray(first.points[i], np.float64), np.asarray(second.points[j], np.float64)
    ratio = np.asarray(second.sizes[j] / first.sizes[i], np.float64)
    turn = (second.angles[j] - first.angles[i]).astype(np.float64)
    # As complex numbers: a transform multiplies by its scale and rotation, then adds its shift.
    source, target, factor = p @ _COMPLEX, q @ _COMPLEX, ratio * np.exp(1j * turn)
    off = factor[:, None] * (source - source[:, None]) + target[:, None] - target
    octaves = np.log2(ratio)
    between = (turn[:, None] - turn + np.pi) % (2 * np.pi) - np.pi
    agree = (
        (np.abs(off) < _PIXELS * np.maximum(1, ratio)[:, None])
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
        own = np.column_stack((p[inside], np.ones(int(inside.sum()))))
        matrix = np.asarray(np.linalg.lstsq(own, q[inside], rcond=None)[0].T, np.float64)
        off = p @ matrix[:, :2].T + matrix[:, 2] - q
        inside = (off * off).sum(axis=1) < reach**2
    if abs(np.linalg.det(matrix[:, :2])) < _LARGEST_SCALE**-2:
        return None
    return Alignment(matrix, _places(p[inside]))


def _match(first: LocalFeatures, second: LocalFeatures) -> NDArray[np.int64]:
    """Return (M, 2) indices of features that are each other's nearest, closest pairs first, at most `MOST_MATCHES`."""
    if not len(first.descriptors) or not len(second.descriptors):
        return np.empty((0, 2), np.int64)
    a, b = first.descriptors.astype(np.float32), second.descriptors.astype(np.float32)
    distance = (a * a).sum(1)[:, None] + (b * b).sum(1) - 2 * a @ b.T
    nearest = distance.argmin(axis=1)
    own = np.flatnonzero(distance.argmin(axis=0)[nearest] == np.arange(len(a)))
    order = own[np.argsort(distance[own, nearest[own]], kind="stable")[:MOST_MATCHES]]
    return np.stack((order, nearest[order]), axis=1)


def _places(points: NDArray[np.float64]) -> int:
    """Count different places: a keypoint with several directions gives several matches but one place."""
    return len(np.unique(np.round(points), axis=0))


def _similarity(p: NDArray[np.float64], q: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fit q = similarity(p) by least squares: (K, 2) points each, at two different places or more."""
    middle_p, middle_q = p.mean(axis=0), q.mean(axis=0)
    u, v = (p - middle_p) @ _COMPLEX, (q - middle_q) @ _COMPLEX
    factor = np.vdot(u, v) / max(np.vdot(u, u).real, 1e-9)
    linear = np.array([[factor.real, -factor.imag], [factor.imag, factor.real]])
    return np.column_stack((linear, middle_q - linear @ middle_p))
