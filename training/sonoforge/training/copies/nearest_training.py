"""Measure how far each image is from its nearest training image, and whether a whole set is too near.

The distance is 1 minus the largest correlation, plain or mirrored left to right, of two grey 32x32 thumbnails (area
averages) without their slow variation.  `data_copying` is the statistic of Meehan, Chaudhuri, Dasgupta, "A
Non-Parametric Test to Detect Data-Copying in Generative Models", AISTATS 2020, section 3, on these distances, over the
whole space at once (one cell).
"""

import math
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, stats

from sonoforge.runtime.errors import SonoforgeError

SIDE = 32
_BLOCK = 1024

Pixels = NDArray[np.uint8]
Vectors = NDArray[np.float32]
Groups = NDArray[np.int64]


class Nearest(NamedTuple):
    """The k nearest training images of each of N images, nearest first."""

    distance: NDArray[np.float64]  # (N, k) float64, 0 (a copy) to 2; 1 where either has no detail
    training_index: NDArray[np.int64]  # (N, k) int64, its place among the training images
    mirrored: NDArray[np.bool_]  # (N, k) bool, True where the training image's mirror image is nearer


def nearest_training(images: Pixels, training: Pixels, count: int = 1, groups: Groups | None = None) -> Nearest:
    """Find the ``count`` nearest of the training images (M, S', S', C') for each image (N, S, S, C) uint8, C = 1 or 3.

    With near-duplicate groups (M,), the images are the training images, and only those of other groups count.

    Raises:
        SonoforgeError: All training images are in one group.
    """
    if groups is not None and len(np.unique(groups)) < 2:
        raise SonoforgeError("copy test: all training images are in one near-duplicate group; add held-out real images")
    vectors, known = copy_vectors(images), copy_vectors(training)
    side, parts = math.isqrt(known.shape[1]), []
    mirror = np.ascontiguousarray(known.reshape(-1, side, side)[:, :, ::-1]).reshape(known.shape)
    for start in range(0, max(len(vectors), 1), _BLOCK):  # block by block to save memory
        rows = slice(start, start + _BLOCK)
        plain, flipped = vectors[rows] @ known.T, vectors[rows] @ mirror.T
        best = np.maximum(plain, flipped)
        if groups is not None:
            best[groups[rows, None] == groups[None, :]] = -np.inf
        index = np.argsort(-best, axis=1, kind="stable")[:, :count]
        # Rounding may leave a correlation of 1 + 1e-7.
        distance = np.maximum(1.0 - np.take_along_axis(best, index, 1), 0.0).astype(np.float64)
        parts.append((distance, index, np.take_along_axis(flipped > plain, index, 1)))
    return Nearest._make(np.concatenate(fields) for fields in zip(*parts, strict=True))


def data_copying(generated: NDArray[np.float64], real: NDArray[np.float64]) -> float:
    """Return C_T of Meehan 2020 in one cell: the z-score of Mann and Whitney's U.

    U counts the pairs with the generated image farther from the training images than the real one. Its mean is N K / 2
    and its variance N K (N + K + 1) / 12 if both come from one distribution without ties. The distances to the nearest
    training image are (N,) for generated and (K,) for real images.
    """
    n, k = len(generated), len(real)
    farther = stats.mannwhitneyu(generated, real, method="asymptotic").statistic
    return float((farther - n * k / 2) / math.sqrt(n * k * (n + k + 1) / 12))


def copy_vectors(images: Pixels) -> Vectors:
    """Return vectors (N, T * T) float32, T = min(S, 32), of norm 1 or 0; their products are the correlations."""
    side = min(images.shape[1], SIDE)
    parts = [np.empty((0, side**2), np.float32)]
    for start in range(0, len(images), _BLOCK):
        grey = images[start : start + _BLOCK].mean(axis=3, dtype=np.float32)
        small = np.stack([cv2.resize(own, (side, side), interpolation=cv2.INTER_AREA) for own in grey])
        parts.append(fine_detail(small).reshape(len(grey), -1).astype(np.float32))
    return np.concatenate(parts)


_SMOOTH = 1 / 16  # of the side; half the scale of the layers that unrelated breast scans share
_FLAT = 0.5  # grey levels; rounding to 8 bits alone leaves 1/sqrt(12) = 0.29


def fine_detail(pictures: NDArray[Any]) -> NDArray[Any]:
    """Remove slow variation from (N, S, S) and scale each picture to unit energy, or to all zero if it is blank."""
    side = pictures.shape[1]
    detail = pictures - ndimage.gaussian_filter(pictures, (0, _SMOOTH * side, _SMOOTH * side), mode="nearest")
    detail -= detail.mean(axis=(1, 2), keepdims=True)
    spread = detail.std(axis=(1, 2), keepdims=True)
    return np.where(spread > _FLAT, detail / (side * np.maximum(spread, _FLAT)), 0.0)
