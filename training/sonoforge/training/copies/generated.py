"""Find generated images that are copies of training images, and test whether chance explains their number.

`near_duplicates` finds each generated image's best match among the training images, in three shapes (`SHAPES`) as these
were stretched to a square.  Real images that are not copies set the threshold: among the best scores of n
near-duplicate groups, it is the k-th largest, k = floor(alpha (n + 1)); another such image exceeds it with probability
k / (n + 1) <= alpha (split conformal prediction: Vovk, Gammerman, Shafer, "Algorithmic Learning in a Random World",
2005; Lei et al., JASA 113, 2018, section 2.2).  It is at least `LOWEST_LIMIT`.  Planted copies of the training images
show which kinds the answer holds for.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import stats

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.seeds import derive_seed
from sonoforge.training.copies.local_features import extract_features, extract_halved
from sonoforge.training.copies.near_duplicates import LOWEST_LIMIT, Prepared, match_pictures, prepare
from sonoforge.training.copies.pictures import SIDE, Picture
from sonoforge.training.copies.planting import count_found, plant_copies
from sonoforge.training.statistics.intervals import wilson_interval
from sonoforge.training.statistics.results import Record

ALPHA = 0.025

PLANTED = 20
"""Copies of each kind: a kind still holds if one is missed, but not two; all kinds take some 15 core-seconds."""

CALIBRATING = 400
"""Near-duplicate groups of training images that set the threshold, at most; see above."""

HELD_OUT = "held-out real images"
OTHER_GROUPS = "training images of other near-duplicate groups"

# Width and height.  With one shape, 0.6 of letterboxed and no stretched halves of 64-pixel BUSI were found.
SHAPES = ((SIDE, SIDE), (SIDE, round(SIDE / 1.6)), (round(SIDE / 1.6), SIDE))
NOTHING = -1

Pixels = NDArray[np.uint8]
Groups = NDArray[np.int64]


class Best(NamedTuple):
    """The best match of each of N images."""

    score: NDArray[np.float64]  # (N,) standard errors above unrelated pictures; 0 where nothing matches
    training_index: NDArray[np.int64]  # (N,) its place among the training images; `NOTHING` where nothing matches
    mirrored: NDArray[np.bool_]  # (N,) whether the training image's mirror image matches


class FoundCopies(NamedTuple):
    """The copy test and its basis."""

    test: Record
    best: Best  # of the generated images
    real: Best  # of the calibrating images
    recall: list[Record]  # of each kind of copy


def find_copies(
    generated: Pixels,
    training: Pixels,
    training_groups: Groups,
    held_out: tuple[Pixels, Groups] | None = None,
    planted: int = PLANTED,
    seed: int = 0,
) -> FoundCopies:
    """Find copies among generated images, test whether there are too many, and measure which kinds would be found.

    Args:
        generated: (N, S, S, C) uint8, N >= 1, C = 1 or 3.
        training: (M, S, S, C) uint8: all images that the generator saw.
        training_groups: (M,) near-duplicate group of each.
        held_out: (K, S, S, C) uint8 real images that the generator did not see, and their (K,) groups in the same
            numbering, none of them a training group. None calibrates on the training images.
        planted: Copies of each kind to measure recall with.
        seed: Seed for the planted copies and the calibrating groups.
    """
    groups, calibration = training_groups, OTHER_GROUPS
    if held_out is not None:
        groups, calibration = held_out[1], HELD_OUT
        shared = np.intersect1d(groups, training_groups)
        if len(shared):
            raise ValueError(f"copy test: {len(shared)} groups are both held out and trained on")
    _conformal_rank(len(generated), len(np.unique(groups)), calibration)  # refuses before the search
    wanted = prepare_training(training)
    if held_out is None:
        calibrating = calibrating_images(groups, seed)
        groups, images = groups[calibrating], wanted.take(calibrating)  # in the first shape
    else:
        images = prepare_sought(grey_pictures(held_out[0]))
    copies = plant_copies(grey_pictures(training), planted, seed)
    sought = [images, prepare_sought(grey_pictures(generated)), prepare_sought(copies)]
    # Sought together, so that the training images are sorted once.
    own = np.concatenate((groups, np.full(len(generated) + len(copies), NOTHING)))
    joined = Prepared(
        [picture for part in sought for picture in part.pictures],
        [features for part in sought for features in part.features],
    )
    best = match_training(joined, wanted, (training_groups, own))
    ends = np.cumsum([len(part.pictures) for part in sought])[:-1]
    real, drawn, planted_ones = (Best._make(fields) for fields in zip(*(np.split(f, ends) for f in best), strict=True))
    test = copy_test(drawn.score, real.score, groups, calibration)
    return FoundCopies(test, drawn, real, count_found(planted_ones.score > test["threshold"]))


def calibrating_images(groups: Groups, seed: int) -> Groups:
    """Return the places of images in at most `CALIBRATING` near-duplicate groups (M,), drawn at random."""
    known = np.unique(groups)
    rng = np.random.default_rng(derive_seed(seed, "calibrating groups"))
    return np.flatnonzero(np.isin(groups, rng.permutation(known)[:CALIBRATING]))


def copy_test(
    generated: NDArray[np.float64], real: NDArray[np.float64], real_groups: Groups, calibration: str
) -> Record:
    """Compare the best scores of generated images against the training images with the scores of real images.

    There are (N,) scores of generated images and (K,) of real ones that are not copies, with near-duplicate groups;
    ``calibration`` is `HELD_OUT` or `OTHER_GROUPS`, for the record. It needs 1 / `ALPHA` - 1 groups.
    """
    count = len(generated)
    known, place = np.unique(real_groups, return_inverse=True)
    groups = len(known)
    largest = np.zeros(groups)
    np.maximum.at(largest, place, real)
    rank = _conformal_rank(count, groups, calibration)
    threshold = max(LOWEST_LIMIT, float(np.sort(largest)[-rank]))
    above = int((largest > threshold).sum()) + 1
    copies = int((generated > threshold).sum())
    level = above / (groups + 1)
    share = wilson_interval(copies, count)
    tail = stats.betabinom.pmf(range(copies, count + 1), count, above, groups + 1 - above)
    return {
        "calibration": calibration,
        "calibrating": groups,  # near-duplicate groups that set the threshold
        "alpha": ALPHA,
        "false_alarm": level,  # probability that a real image counts as a copy here, at most alpha
        "threshold": threshold,
        "images": count,
        "copies": copies,
        "share": share["value"],  # with Wilson's 95 % interval
        "low": share["low"],
        "high": share["high"],
        "memorised": max(0.0, (share["value"] - level) / (1 - level)),  # the share beyond chance
        # Probability that as many real images or more lie above the threshold, given how many calibrating groups do:
        # Fisher's exact test; at a threshold that is one of their scores, conformal prediction's beta-binomial.  Summed
        # over the tail: 1 minus the distribution function loses all digits of a small probability.
        "p_value": min(1.0, float(tail.sum())),
    }


def _conformal_rank(generated: int, groups: int, calibration: str) -> int:
    """Return k, the rank of the threshold among the groups' scores, largest first."""
    rank = math.floor(ALPHA * (groups + 1) + 1e-9)  # 0.29 * 100 is 29, also in floating point
    if rank < 1 or generated < 1:
        raise SonoforgeError(
            f"copy test: {generated} generated images and {groups} near-duplicate groups of {calibration} are too few; "
            f"its threshold needs {math.ceil(1 / ALPHA - 1 - 1e-9)} groups: add real images, or leave the copy test out"
        )
    return rank


def grey_pictures(images: Pixels) -> list[Picture]:
    """Return images (N, S, S, C) uint8, C = 1 or 3, as N grey ones (S, S)."""
    return list(np.round(images.mean(axis=3, dtype=np.float32)).astype(np.uint8))


def prepare_sought(pictures: Sequence[Picture]) -> Prepared:
    """Prepare grey (S, S) pictures for `match_training`; this takes 8 ms each, or 20 from S = 129 up."""
    small = max((len(picture) for picture in pictures), default=SIDE) * 2 <= SIDE
    return prepare(pictures, extract=extract_halved if small else extract_features)


def prepare_training(images: Pixels) -> Prepared:
    """Prepare training images (M, S, S, C) uint8 for `match_training`; 0.02 core-seconds each, 0.05 from S = 129 up.

    Each comes in all `SHAPES`: place s M + i is image i in shape s.
    """
    pictures = grey_pictures(images)
    shaped = [
        np.asarray(Image.fromarray(picture).resize(shape, Image.Resampling.BICUBIC))
        for shape in SHAPES
        for picture in pictures
    ]
    extract = extract_halved if 2 * images.shape[1] <= SIDE else extract_features
    return prepare(shaped, extract=extract)


def match_training(images: Prepared, wanted: Prepared, groups: tuple[Groups, Groups] | None = None) -> Best:
    """Find the one of `prepare_training`'s images that each of N matches best; 0.01 to 0.03 core-seconds each.

    With near-duplicate groups of the training images (M,) and of the images (N,), only other groups count.
    """
    count = len(images.pictures)
    score, place, mirrored = np.zeros(count), np.full(count, NOTHING, np.int64), np.zeros(count, np.bool_)
    found = match_pictures(wanted, images, shapes=len(SHAPES))
    index = found.first % (len(wanted.pictures) // len(SHAPES))
    counts = found.score > 0
    if groups is not None:
        counts &= groups[0][index] != groups[1][found.second]
    order = np.flatnonzero(counts)
    order = order[np.argsort(found.score[order], kind="stable")]  # of several, the last one assigned is the best
    at = found.second[order]
    score[at], place[at], mirrored[at] = found.score[order], index[order], found.mirrored[order]
    return Best(score, place, mirrored)
