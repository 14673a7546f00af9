"""Which generated images are copies of training images, and is it more of them than chance explains?

*Distance.*  1 minus the largest correlation, over {as it is, mirrored left to right}, of two grey 32x32 thumbnails
(area averages) whose slow variation is removed: 0 for a copy, 0.6 to 0.8 from most breast scans to the nearest
unrelated one of some hundred.  A change of brightness or contrast leaves it alone, clipping and JPEG nearly so.
Without the removal, unrelated scans correlate through the layers that all of them have, and blurred or shifted copies
are lost among them; 64x64 thumbnails find fewer shifted ones.  Limits: copies that were shifted by more than about
3 % of the side, rotated, cropped or mirrored upside down are not found, nor are copies of a part.

*Threshold.*  What is near enough depends on how alike real scans are, so real images that are no copies set it: a
generated image counts as a copy where it is nearer to its nearest training image than nearly all of them are to
theirs.  With n distances of such images the threshold is the k-th smallest, k = floor(alpha (n + 1)): then another
such image falls below it with probability k / (n + 1) <= alpha (split conformal prediction: Vovk, Gammerman, Shafer,
"Algorithmic Learning in a Random World", 2005; Lei et al., JASA 113, 2018, section 2.2).  Near-duplicates
are not independent, so each group counts once, with its smallest distance.  That holds on average over calibrations;
alpha is 0.025 so that single ones, too, rarely give more than 5 % false alarms.

Measured on thirds (training, calibration, fresh) of BUSI and of 600 phantoms, 20 splits by near-duplicate group:

| false alarms, mean (worst split) | BUSI          | phantoms      |
|----------------------------------|---------------|---------------|
| calibrated on held-out images    | 1.8 % (4.5 %) | 0.5 % (2.5 %) |
| calibrated on training images    | 2.2 % (7.5 %) | 1.5 % (5.5 %) |

All copies were found in every split: exact, mirrored, 10 to 40 grey levels brighter or darker, contrast times 0.7, JPEG
of quality 50, Gaussian blur up to 4 of 128 pixels, noise of 15 grey levels; shifted by 2 of 128 pixels both ways 93 to
98 %.

*Two calibrations.*  Held-out real images, where there are any (best).  Otherwise each training image's distance to
the nearest training image of another near-duplicate group; those distances depend on each other (two images may be each
other's nearest), so single calibrations scatter more.

*Data copying.*  The statistic of Meehan, Chaudhuri, Dasgupta, "A Non-Parametric Test to Detect Data-Copying in
Generative Models", AISTATS 2020, section 3, on the same distances, over the whole space at once (one cell): it sees a
generator that is systematically too near to its training images even where no single image is a copy.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, stats

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.statistics.intervals import Interval, wilson_interval

ALPHA = 0.025
SIDE = 32
_SMOOTH = SIDE / 16  # as `sonoforge.training.data.duplicates` relative to the side, and for its reason
_FLAT = 0.5  # grey levels; below, an image has no detail to compare
_BLOCK = 1024

HELD_OUT = "held-out real images"
OTHER_GROUPS = "training images of other near-duplicate groups"

Pixels = NDArray[np.uint8]
Vectors = NDArray[np.float32]
Groups = NDArray[np.int64]


class Nearest(NamedTuple):
    """The nearest training image of each of N images."""

    # (N,) float64, 0 (a copy) to 2; 1 where either has no detail. `nearest_few` gives (N, k) of all three.
    distance: NDArray[np.float64]
    training_index: NDArray[np.int64]  # (N,) int64, its place among the training images
    mirrored: NDArray[np.bool_]  # (N,) bool, True where the training image's mirror image is meant


class CopyTest(NamedTuple):
    """How many generated images are copies, and the protocol it was found under."""

    share: Interval  # share of the generated images that are below the threshold, with Wilson's 95 % interval
    memorised: float  # the same less what chance explains: max(0, (share - level) / (1 - level))
    # Exact probability that as many real images would be below the threshold, with the chance of the calibration itself
    # taken into account: with n calibrating groups that number is beta-binomial.
    p_value: float
    # C_T of Meehan 2020: far below 0 (under -2, say) where generated images are nearer to training images than real
    # ones are, far above 0 where they are farther (poor images, mostly). A z-score that takes the distances as
    # independent, so near-duplicates inflate it.
    data_copying: float
    copies: int  # number of generated images below the threshold
    generated: int
    training: int
    calibration: str  # `HELD_OUT` or `OTHER_GROUPS`
    calibrating: int  # number of near-duplicate groups n that the threshold is from
    alpha: float  # largest probability that a real image counts as a copy
    level: float  # the probability k / (n + 1) that n allows, at most alpha
    threshold: float  # distance below which an image counts as a copy


def find_copies(
    generated: Pixels,
    training: Pixels,
    training_groups: Groups,
    held_out: tuple[Pixels, Groups] | None = None,
) -> tuple[CopyTest, Nearest]:
    """Find the nearest training image of each generated one, and test whether too many are too near.

    Args:
        generated: (N, S, S, C) uint8, N >= 1, C = 1 or 3.
        training: (M, S, S, C) uint8: all images that the generator saw.
        training_groups: (M,) near-duplicate group of each, from `sonoforge.training.data.duplicates`.
        held_out: (K, S, S, C) uint8 real images that the generator did not see, and their (K,) groups in the same
            numbering, none of them a group of the training images.  None: calibrate on the training images.

    Returns:
        The test, and the generated images' nearest training images.

    Raises:
        ValueError: A held-out image belongs to a group of the training images.
        SonoforgeError: Too few calibrating groups, or no generated image.
    """
    nearest = nearest_training(generated, training)
    if held_out is None:
        calibration, groups = OTHER_GROUPS, training_groups
        real = nearest_other_group(training, training_groups)
    else:
        images, groups = held_out
        shared = np.intersect1d(groups, training_groups)
        if len(shared):
            raise ValueError(f"copy test: found {len(shared)} groups both held out and trained on, expected none")
        calibration, real = HELD_OUT, nearest_training(images, training)
    return copy_test(nearest.distance, real.distance, groups, calibration, len(training)), nearest


def nearest_training(images: Pixels, training: Pixels) -> Nearest:
    """Find the nearest of the training images (M, S', S', C') for each image (N, S, S, C) uint8, C = 1 or 3."""
    return _nearest(copy_vectors(images), copy_vectors(training), None)


def nearest_few(images: Pixels, training: Pixels, count: int) -> Nearest:
    """Find the ``count`` nearest training images of each of N images, nearest first: fields (N, count)."""
    vectors, training_vectors = copy_vectors(images), copy_vectors(training)
    plain, flipped = vectors @ training_vectors.T, vectors @ _mirrored(training_vectors).T
    best = np.maximum(plain, flipped)
    index = np.argsort(-best, axis=1, kind="stable")[:, :count]
    distance = np.maximum(1.0 - np.take_along_axis(best, index, 1), 0.0).astype(np.float64)
    return Nearest(distance, index, np.take_along_axis(flipped > plain, index, 1))


def nearest_other_group(training: Pixels, groups: Groups) -> Nearest:
    """Find, for each training image, the nearest training image of another of the near-duplicate groups (M,).

    Raises:
        SonoforgeError: Only one group.
    """
    if len(np.unique(groups)) < 2:
        raise SonoforgeError(
            "copy test: found training images of one near-duplicate group only, expected at least two groups; "
            "give held-out real images"
        )
    vectors = copy_vectors(training)
    return _nearest(vectors, vectors, groups)


def copy_test(
    generated: NDArray[np.float64],
    real: NDArray[np.float64],
    real_groups: Groups,
    calibration: str,
    training: int,
    alpha: float = ALPHA,
) -> CopyTest:
    """Compare generated images' distances to their nearest training images with those of real images.

    Args:
        generated: (N,) distances, N >= 1.
        real: (K,) distances of real images that are no copies.
        real_groups: (K,) near-duplicate group of each.
        calibration: What the real images are, for the record.
        training: Number of training images, for the record.
        alpha: Largest probability that a real image counts as a copy, in (0, 1).

    Raises:
        SonoforgeError: Fewer groups than 1 / alpha - 1, which no threshold can be had from, or no generated image.
    """
    count = len(generated)
    _, place = np.unique(real_groups, return_inverse=True)
    smallest = np.full(int(place.max(initial=-1)) + 1, np.inf)
    np.minimum.at(smallest, place, real)
    groups = len(smallest)
    rank = math.floor(alpha * (groups + 1) + 1e-9)  # 0.29 * 100 is 29, also in floating point
    if rank < 1 or count < 1:
        raise SonoforgeError(
            f"copy test: found {count} generated images and {groups} near-duplicate groups of {calibration}, expected "
            f"at least 1 and {math.ceil(1 / alpha - 1 - 1e-9)}; give more real images, or leave the copy test out"
        )
    threshold = float(np.sort(smallest)[rank - 1])
    copies = int((generated < threshold).sum())
    level = rank / (groups + 1)
    share = wilson_interval(copies, count)
    return CopyTest(
        share=share,
        memorised=max(0.0, (share.value - level) / (1 - level)),
        # Summed from the tail: 1 minus the distribution function would lose all digits of a small probability.
        p_value=min(1.0, float(stats.betabinom.pmf(range(copies, count + 1), count, rank, groups + 1 - rank).sum())),
        data_copying=data_copying(generated, real),
        copies=copies,
        generated=count,
        training=training,
        calibration=calibration,
        calibrating=groups,
        alpha=alpha,
        level=level,
        threshold=threshold,
    )


def data_copying(generated: NDArray[np.float64], real: NDArray[np.float64]) -> float:
    """Return C_T of Meehan 2020 in one cell: the z-score of Mann and Whitney's U.

    U counts the pairs in which the generated image is farther from the training images than the real one.  Its mean is
    N K / 2 and its variance N K (N + K + 1) / 12 where both are from one distribution without ties.

    Args:
        generated: (N,) distances to the nearest training image.
        real: (K,) the same of real images.
    """
    n, k = len(generated), len(real)
    ranks = stats.rankdata(np.concatenate([generated, real]))
    farther = ranks[:n].sum() - n * (n + 1) / 2
    return float((farther - n * k / 2) / math.sqrt(n * k * (n + k + 1) / 12))


def copy_vectors(images: Pixels) -> Vectors:
    """Return vectors whose products are the correlations: (N, T * T) float32, T = min(S, 32), of norm 1 or 0."""
    if images.ndim != 4 or images.shape[1] != images.shape[2]:
        raise ValueError(f"copy test: found images of shape {images.shape}, expected (N, S, S, C)")
    averaging = _area_average(images.shape[1], min(images.shape[1], SIDE))
    parts = [np.empty((0, len(averaging) ** 2), np.float32)]
    for start in range(0, len(images), _BLOCK):
        grey = images[start : start + _BLOCK].mean(axis=3, dtype=np.float32)
        small = averaging @ grey @ averaging.T
        smooth = _SMOOTH * len(averaging) / SIDE
        detail = small - ndimage.gaussian_filter(small, (0, smooth, smooth), mode="nearest")
        detail -= detail.mean(axis=(1, 2), keepdims=True)
        spread = detail.std(axis=(1, 2), keepdims=True)
        scaled = np.where(spread > _FLAT, detail / (len(averaging) * np.maximum(spread, _FLAT)), 0)
        parts.append(scaled.reshape(len(grey), -1).astype(np.float32))
    return np.concatenate(parts)


def _area_average(side: int, target: int) -> NDArray[np.float32]:
    """(target, side): the share of each pixel in each of the equal parts of the side; rows sum to 1."""
    bounds = np.linspace(0, side, target + 1)
    pixel = np.arange(side)
    overlap = np.minimum(bounds[1:, None], pixel + 1) - np.maximum(bounds[:-1, None], pixel)
    share: NDArray[np.float32] = (np.clip(overlap, 0, None) * (target / side)).astype(np.float32)
    return share


def _nearest(vectors: Vectors, training: Vectors, groups: Groups | None) -> Nearest:
    """Compare (N, D) with (M, D), block by block to save memory; with groups, both are one set."""
    if vectors.shape[1] != training.shape[1] or not len(training):
        raise ValueError(f"copy test: found {training.shape} training vectors for {vectors.shape}")
    mirror = _mirrored(training)
    distance, index, mirrored = np.empty(len(vectors)), np.empty(len(vectors), np.int64), np.empty(len(vectors), bool)
    for start in range(0, len(vectors), _BLOCK):
        rows = slice(start, start + _BLOCK)
        plain, flipped = vectors[rows] @ training.T, vectors[rows] @ mirror.T
        best = np.maximum(plain, flipped)
        if groups is not None:
            best[groups[rows, None] == groups[None, :]] = -np.inf
        found = best.argmax(axis=1)
        at = np.arange(len(found)), found
        # Rounding may leave a correlation of 1 + 1e-7.
        distance[rows], index[rows], mirrored[rows] = np.maximum(1.0 - best[at], 0.0), found, flipped[at] > plain[at]
    return Nearest(distance, index, mirrored)


def _mirrored(vectors: Vectors) -> Vectors:
    side = math.isqrt(vectors.shape[1])
    return np.ascontiguousarray(vectors.reshape(-1, side, side)[:, :, ::-1]).reshape(vectors.shape)
