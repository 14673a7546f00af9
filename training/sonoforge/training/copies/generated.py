"""Which generated images are copies of training images, and is it more of them than chance explains?

*Search.*  Each generated image is looked for among the training images by `search`, and its best match has a score: be
it equal, shifted, turned, zoomed, cropped, mirrored or a part.  Small images suffice: they are enlarged to 256 pixels.
Images are stretched to a square for training, so a copied part may be stretched against its original by up to two; each
training image is therefore searched for in three shapes (`SHAPES`), and local features bridge the rest.

*Threshold.*  What score makes a copy depends on how alike real scans are, so real images that are no copies set it.
With the best scores of n near-duplicate groups of such images, the threshold is the k-th largest, k = floor(alpha (n +
1)): another such image lies above it with probability k / (n + 1) <= alpha (split conformal prediction: Vovk,
Gammerman, Shafer, "Algorithmic Learning in a Random World", 2005; Lei et al., JASA 113, 2018, section 2.2).
Near-duplicates are not independent, so each group counts once, with its largest score.  Where real images hardly ever
match, the k-th largest score proves nothing; so the threshold is at least the search's `LOWEST_LIMIT`, and the
probability that of the groups above it.  The search's own null limit has no use here: nearly all candidates of small
images are true ones, and it takes the null from the candidates.

*Calibration.*  Held-out real images, where there are any (best).  Otherwise the best match that training images have in
another near-duplicate group; those depend on each other (two images may be each other's best).  Of many groups, 400
are drawn: the threshold is valid for any number of them, and the share of real images above it, alpha on average, has
a standard deviation of sqrt(alpha (1 - alpha) / n) = 0.8 percentage points over draws of n = 400, 0.3 of n = 2000.

*Recall.*  Copies of the user's own training images are planted as the generator saw these (side, squareness, grey), and
brought back to the same square, so that a crop is enlarged and a half stretched, as an image of another shape is for
training.  That no copies are found says something of those kinds alone of which nearly all planted ones are found.  Of
BUSI's 210 malignant images at 64 x 64, all 460 planted copies of the first 23 kinds are found, 20 of each, in 22
core-seconds.

*False alarms*, on thirds (training, calibration, fresh) at 64 x 64, split by near-duplicate group, measured with
`training/studies/generated-quality/copy_test_false_alarms.py`:

| mean (worst of 10 splits)     | BUSI          | 600 phantoms  |
|-------------------------------|---------------|---------------|
| calibrated on held-out images | 0.5 % (1.2 %) | 1.2 % (3.0 %) |
| calibrated on training images | 0.5 % (1.2 %) | 1.8 % (4.9 %) |
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import stats

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.seeds import derive_seed
from sonoforge.training.copies.local_features import extract_features, extract_halved
from sonoforge.training.copies.pictures import SIDE, Picture
from sonoforge.training.copies.planting import PlantedRow, count_found, plant, plant_copies
from sonoforge.training.copies.search import LOWEST_LIMIT, Extract, Prepared, match_pictures, prepare
from sonoforge.training.statistics.intervals import wilson_interval

ALPHA = 0.025

PLANTED = 20
"""Copies of each kind: one missed leaves the kind standing, two do not; of all kinds, some 15 core-seconds."""

CALIBRATING = 400
"""Near-duplicate groups of training images that set the threshold, at most; see above."""

HELD_OUT = "held-out real images"
OTHER_GROUPS = "training images of other near-duplicate groups"

# Width and height.  With 64-pixel BUSI and one shape, 0.6 of letterboxed and none of stretched halves were found.
SHAPES = ((SIDE, SIDE), (SIDE, round(SIDE / 1.6)), (round(SIDE / 1.6), SIDE))
NOTHING = -1

Pixels = NDArray[np.uint8]
Groups = NDArray[np.int64]


class Best(NamedTuple):
    """The best match of each of N images."""

    score: NDArray[np.float64]  # (N,) standard errors above unrelated pictures; 0 where nothing matches
    training_index: NDArray[np.int64]  # (N,) its place among the training images; `NOTHING` where nothing matches
    mirrored: NDArray[np.bool_]  # (N,) whether the training image's mirror image is meant


class Wanted(NamedTuple):
    """Training images, prepared to be found: M times the `SHAPES`."""

    shaped: Prepared  # place s M + i is image i in shape s
    number: int  # M of training images

    @property
    def square(self) -> Prepared:
        """The images as they are, to be looked for themselves."""
        return Prepared(self.shaped.pictures[: self.number], self.shaped.features[: self.number])

    def take(self, indices: Groups) -> Wanted:
        """Return the training images at these indices (K,)."""
        places = (np.arange(len(SHAPES))[:, None] * self.number + indices).reshape(-1).tolist()
        pictures, features = self.shaped
        return Wanted(Prepared([pictures[at] for at in places], [features[at] for at in places]), len(indices))


class CopyTest(TypedDict):
    """How many generated images are copies, and the protocol it was found under."""

    calibration: str  # `HELD_OUT` or `OTHER_GROUPS`
    calibrating: int  # number of near-duplicate groups n that the threshold is from
    alpha: float  # largest probability that a real image counts as a copy
    false_alarm: float  # that probability here: (groups above the threshold + 1) / (n + 1), at most alpha
    threshold: float  # score above which an image counts as a copy
    images: int  # number of generated images
    copies: int  # of these, above the threshold
    share: float  # copies / images, with the ends of Wilson's 95 % interval
    low: float
    high: float
    memorised: float  # the share less what chance explains: max(0, (share - false_alarm) / (1 - false_alarm))
    # Probability that as many real images or more would be above the threshold, given how many calibrating groups are:
    # Fisher's exact test, which at a threshold that is one of their scores is conformal prediction's beta-binomial.
    p_value: float


class FoundCopies(NamedTuple):
    """The copy test, and what it rests on."""

    test: CopyTest
    best: Best  # of the generated images
    real: Best  # of the calibrating images
    recall: list[PlantedRow]  # of each kind of copy


def find_copies(
    generated: Pixels,
    training: Pixels,
    training_groups: Groups,
    held_out: tuple[Pixels, Groups] | None = None,
    planted: int = PLANTED,
    seed: int = 0,
) -> FoundCopies:
    """Find the copies among generated images, test whether they are too many, and measure which kinds would be found.

    Args:
        generated: (N, S, S, C) uint8, N >= 1, C = 1 or 3.
        training: (M, S, S, C) uint8: all images that the generator saw.
        training_groups: (M,) near-duplicate group of each, from `sonoforge.training.copies.near_duplicates`.
        held_out: (K, S, S, C) uint8 real images that the generator did not see, and their (K,) groups in the same
            numbering, none of them a group of the training images.  None: calibrate on the training images.
        planted: Copies of each kind to measure recall with.
        seed: Of the planted copies, and of the groups that the threshold is from.

    Raises:
        ValueError: A held-out image belongs to a group of the training images.
        SonoforgeError: Too few calibrating groups, or no generated image.
    """
    groups, calibration = training_groups, OTHER_GROUPS
    if held_out is not None:
        groups, calibration = held_out[1], HELD_OUT
        shared = np.intersect1d(groups, training_groups)
        if len(shared):
            raise ValueError(f"copy test: found {len(shared)} groups both held out and trained on, expected none")
    _conformal_rank(len(generated), len(np.unique(groups)), calibration, ALPHA)  # refuses before the search
    wanted = prepare_training(training)
    if held_out is None:
        calibrating = calibrating_images(groups, seed)
        groups, images = groups[calibrating], wanted.take(calibrating).square
    else:
        images = prepare_sought(grey_pictures(held_out[0]))
    copies = plant_copies(grey_pictures(training), planted, seed, plant_squared)[1]
    sought = [images, prepare_sought(grey_pictures(generated)), prepare_sought(copies)]
    # Looked for together: the training images are sorted once.
    own = np.concatenate((groups, np.full(len(generated) + len(copies), NOTHING)))
    best = match_training(_joined(sought), wanted, (training_groups, own))
    ends = np.cumsum([len(part.pictures) for part in sought])[:-1]
    real, drawn, planted_ones = (Best._make(fields) for fields in zip(*(np.split(f, ends) for f in best), strict=True))
    test = copy_test(drawn.score, real.score, groups, calibration)
    return FoundCopies(test, drawn, real, count_found(planted_ones.score > test["threshold"]))


def calibrating_images(groups: Groups, seed: int) -> Groups:
    """Return the places of the images of at most `CALIBRATING` near-duplicate groups (M,), drawn at random."""
    known = np.unique(groups)
    rng = np.random.default_rng(derive_seed(seed, "calibrating groups"))
    return np.flatnonzero(np.isin(groups, rng.permutation(known)[:CALIBRATING]))


def copy_test(
    generated: NDArray[np.float64],
    real: NDArray[np.float64],
    real_groups: Groups,
    calibration: str,
    alpha: float = ALPHA,
) -> CopyTest:
    """Compare generated images' best scores against the training images with those of real images.

    Args:
        generated: (N,) scores, N >= 1.
        real: (K,) scores of real images that are no copies.
        real_groups: (K,) near-duplicate group of each.
        calibration: What the real images are, for the record.
        alpha: Largest probability that a real image counts as a copy, in (0, 1).

    Raises:
        SonoforgeError: Fewer groups than 1 / alpha - 1, which no threshold can be had from, or no generated image.
    """
    count = len(generated)
    _, place = np.unique(real_groups, return_inverse=True)
    largest = np.zeros(int(place.max(initial=-1)) + 1)
    np.maximum.at(largest, place, real)
    groups = len(largest)
    rank = _conformal_rank(count, groups, calibration, alpha)
    threshold = max(LOWEST_LIMIT, float(np.sort(largest)[-rank]))
    above = int((largest > threshold).sum()) + 1
    copies = int((generated > threshold).sum())
    level = above / (groups + 1)
    share = wilson_interval(copies, count)
    return CopyTest(
        calibration=calibration,
        calibrating=groups,
        alpha=alpha,
        false_alarm=level,
        threshold=threshold,
        images=count,
        copies=copies,
        share=share["value"],
        low=share["low"],
        high=share["high"],
        memorised=max(0.0, (share["value"] - level) / (1 - level)),
        # Summed from the tail: 1 minus the distribution function would lose all digits of a small probability.
        p_value=min(1.0, float(stats.betabinom.pmf(range(copies, count + 1), count, above, groups + 1 - above).sum())),
    )


def _conformal_rank(generated: int, groups: int, calibration: str, alpha: float) -> int:
    """Return k, the place of the threshold among the groups' scores, largest first."""
    rank = math.floor(alpha * (groups + 1) + 1e-9)  # 0.29 * 100 is 29, also in floating point
    if rank < 1 or generated < 1:
        raise SonoforgeError(
            f"copy test: found {generated} generated images and {groups} near-duplicate groups of {calibration}; its "
            f"threshold needs {least_groups(alpha)} groups: give more real images, or leave the copy test out"
        )
    return rank


def least_groups(alpha: float = ALPHA) -> int:
    """Return the number of calibrating groups from which on the copy test has a threshold."""
    return math.ceil(1 / alpha - 1 - 1e-9)


def grey_pictures(images: Pixels) -> list[Picture]:
    """Return images (N, S, S, C) uint8, C = 1 or 3, as N grey ones (S, S)."""
    return list(np.round(images.mean(axis=3, dtype=np.float32)).astype(np.uint8))


def prepare_sought(pictures: Sequence[Picture]) -> Prepared:
    """Prepare grey (S, S) pictures to be looked for with `match_training`; 8 ms each, or 20 from S = 129 on."""
    return prepare(pictures, extract=_extractor(max((len(picture) for picture in pictures), default=SIDE)))


def prepare_training(images: Pixels) -> Wanted:
    """Prepare training images (M, S, S, C) uint8 for `match_training`; 0.02 core-seconds each, 0.05 from S = 129 on."""
    pictures = grey_pictures(images)
    shaped = [
        np.asarray(Image.fromarray(picture).resize(shape, Image.Resampling.BICUBIC))
        for shape in SHAPES
        for picture in pictures
    ]
    return Wanted(prepare(shaped, extract=_extractor(images.shape[1])), len(pictures))


def _extractor(side: int) -> Extract:
    return extract_halved if 2 * side <= SIDE else extract_features


def match_training(images: Prepared, wanted: Wanted, groups: tuple[Groups, Groups] | None = None) -> Best:
    """Find the training image that each of N prepared images matches best; 0.01 to 0.03 core-seconds each.

    With near-duplicate groups of the training images (M,) and of the images (N,), those of another group alone count.
    """
    count = len(images.pictures)
    score, place, mirrored = np.zeros(count), np.full(count, NOTHING, np.int64), np.zeros(count, np.bool_)
    found = match_pictures(wanted.shaped, images, shapes=len(SHAPES))
    index = found.first % wanted.number
    counts = found.score > 0
    if groups is not None:
        counts &= groups[0][index] != groups[1][found.second]
    order = np.flatnonzero(counts)
    order = order[np.argsort(found.score[order], kind="stable")]  # of several, the last one assigned is the best
    at = found.second[order]
    score[at], place[at], mirrored[at] = found.score[order], index[order], found.mirrored[order]
    return Best(score, place, mirrored)


def _joined(parts: Sequence[Prepared]) -> Prepared:
    pictures = [picture for part in parts for picture in part.pictures]
    return Prepared(pictures, [features for part in parts for features in part.features])


def plant_squared(kind: str, picture: Picture, rng: np.random.Generator) -> Picture:
    """Copy a grey (S, S) uint8 picture, see `planting.plant`, and stretch the copy to (S, S)."""
    return np.asarray(Image.fromarray(plant(kind, picture, rng)).resize(picture.shape, Image.Resampling.BICUBIC))
