"""Local features of a picture: SIFT keypoints and descriptors, and those of its mirror image and negative.

Lowe, "Distinctive image features from scale-invariant keypoints", IJCV 60(2), 2004, as OpenCV implements it.  SIFT does
not change with shift, turn and scale, so a crop or a zoom of a picture keeps the features of what it still shows.

The descriptor is a 4x4 grid of histograms of 8 gradient directions, laid out along the keypoint's own direction.
Mirroring a picture reverses the grid's rows and the sense of the directions; inverting it turns every gradient round,
the keypoint's own direction too, so the grid is read from its other end.  Both are permutations of the 128 numbers:
one extraction serves all four `Look`s.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from sonoforge.training.copies.pictures import SIDE, Look, Picture, fit
from sonoforge.training.copies.scratch import on_disk

# Pictures are shared out among threads, and gain nothing from more of OpenCV's own.
cv2.setNumThreads(1)

MOST_FEATURES = 400
_MOST_HALVED = 250  # of a picture of at most 128 pixels; all of a scan of 64 are some 330
# Lowe's 0.04 is for photographs; half of the textured area of an ultrasound scan lies below it.
_CONTRAST = 0.005
_EDGES = 15.0  # ratio of the principal curvatures; Lowe's 10 loses layers of tissue

_GRID = np.arange(128).reshape(4, 4, 8)
_MIRRORED = _GRID[::-1, :, -np.arange(8) % 8].reshape(-1)
_INVERTED = _GRID[::-1, ::-1].reshape(-1)


LOOKS = tuple(Look(mirrored, inverted) for mirrored, inverted in itertools.product((False, True), repeat=2))


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
        points, angles, descriptors = self.points, self.angles, self.descriptors
        if look.inverted:
            angles = angles + np.float32(np.pi)
        if look.mirrored:
            points = np.stack((self.width - 1 - points[:, 0], points[:, 1]), axis=1)
            angles = np.float32(np.pi) - angles
        return self._replace(points=points, angles=angles, descriptors=descriptors[:, descriptor_order(look)])


def descriptor_order(look: Look) -> NDArray[np.int64]:
    """Return the (128,) places of a descriptor's numbers in the descriptor of the mirror image or negative."""
    order = np.arange(128)
    if look.inverted:
        order = order[_INVERTED]
    return order[_MIRRORED] if look.mirrored else order


def extract_features(picture: Picture) -> LocalFeatures:
    """Find the strongest local features of a grey (H, W) uint8 picture, after `fit`; 20 ms on one core."""
    return _extract(fit(picture), MOST_FEATURES)


def _extract(fitted: Picture, most: int) -> LocalFeatures:
    detector = cv2.SIFT.create(nfeatures=most, contrastThreshold=_CONTRAST, edgeThreshold=_EDGES)
    # OpenCV gives None instead of an empty table where it finds nothing, which its stubs do not know.
    keypoints, found = detector.detectAndCompute(fitted, np.empty(0, np.uint8))
    descriptors = np.empty((0, 128), np.float32) if not keypoints else np.asarray(found, np.float32)
    height, width = fitted.shape
    rows = np.array([(*point.pt, point.size, point.angle) for point in keypoints], np.float32).reshape(-1, 4)
    # OpenCV returns all keypoints that tie with the last one.
    rows, descriptors = rows[:most], descriptors[:most]
    return LocalFeatures(
        width=width,
        height=height,
        points=rows[:, :2],
        sizes=rows[:, 2],
        angles=np.deg2rad(rows[:, 3]),
        descriptors=descriptors.astype(np.uint8),
    )


def extract_halved(picture: Picture) -> LocalFeatures:
    """Find the features of a picture that was enlarged twofold or more: at half its size, 8 ms on one core.

    SIFT doubles a picture before it looks, and the finest octave of what was enlarged so shows nothing.
    """
    height, width = picture.shape
    half = cv2.resize(picture, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    found = _extract(np.asarray(half, np.uint8), _MOST_HALVED)
    return found._replace(width=width, height=height, points=2 * found.points + np.float32(0.5), sizes=2 * found.sizes)


def keep_on_disk(features: Iterable[LocalFeatures]) -> list[LocalFeatures]:
    """Keep the features of many pictures in a temporary file, see `scratch`."""
    sizes: list[tuple[int, int]] = []

    def arrays() -> Iterator[NDArray[Any]]:
        for one in features:
            sizes.append((one.width, one.height))
            yield from (one.points, one.sizes, one.angles, one.descriptors)

    kept = iter(on_disk(arrays()))
    return [LocalFeatures(width, height, *itertools.islice(kept, 4)) for width, height in sizes]


def stack(pictures: Sequence[LocalFeatures]) -> LocalFeatures:
    """Return the features of all pictures as if they were of one."""
    none = np.empty(0, np.float32)
    parts = [
        LocalFeatures(SIDE, SIDE, np.empty((0, 2), np.float32), none, none, np.empty((0, 128), np.uint8)),
        *pictures,
    ]
    return parts[0]._replace(
        points=np.concatenate([part.points for part in parts]),
        sizes=np.concatenate([part.sizes for part in parts]),
        angles=np.concatenate([part.angles for part in parts]),
        descriptors=np.concatenate([part.descriptors for part in parts]),
    )
