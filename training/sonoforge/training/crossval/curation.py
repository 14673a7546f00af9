"""Which generated images are worth training on: no copies, of usual quality, and recognised as their class."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images import quality_metrics
from sonoforge.training.copies.generated import (
    OTHER_GROUPS,
    copy_test,
    grey_pictures,
    least_groups,
    match_training,
    prepare_training,
)
from sonoforge.training.copies.search import prepare
from sonoforge.training.data.labelled_images import LabelledImages
from sonoforge.training.data.pixels import Pixels

POOL = 3
"""Images drawn for each that is wanted; where fewer pass, fewer are added."""
USUAL = (1.0, 99.0)
"""Percentiles of the real training images between which a measure of image quality is usual."""

Scorer = Callable[[Pixels], NDArray[np.float64]]
"""From images (N, S, S, 3) to the probabilities (N, C) of a classifier that learned from real training images alone."""


class Curation(NamedTuple):
    """How many images were drawn, rejected by each test in turn, and kept."""

    drawn: int
    not_recognised: int  # called another class by the classifier of the real training images
    unusual: int  # a measure of image quality out of the range of the real training images
    copies: int  # found to be a copy of a training image
    kept: int


def curate(
    drawn: LabelledImages, wanted: Mapping[int, int], images: LabelledImages, as_drawn: Pixels, score: Scorer
) -> tuple[LabelledImages, Curation]:
    """Keep, of each class, the first images wanted that pass all tests; the cheapest test comes first.

    ``images`` are the real ones that the generators read, with their groups; ``as_drawn`` are the same at the
    resolution of the drawn ones, see `generators.at_size_drawn`: what is usual of sharp scans is not of any image that
    was drawn smaller.

    Raises:
        SonoforgeError: Too few groups for the copy test, see `copies.generated.copy_test`.
    """
    recognised = score(drawn.pixels).argmax(axis=1) == drawn.labels
    usual = recognised.copy()
    usual[recognised] = _of_usual_quality(drawn.pixels[recognised], as_drawn)
    original = usual.copy()
    if usual.any():
        original[usual] = ~_copies(drawn.pixels[usual], images)
    kept = np.concatenate(
        [np.flatnonzero(original & (drawn.labels == label))[:number] for label, number in wanted.items()]
    ).astype(np.int64)
    return drawn.subset(kept), Curation(
        drawn=len(drawn),
        not_recognised=int((~recognised).sum()),
        unusual=int((recognised & ~usual).sum()),
        copies=int((usual & ~original).sum()),
        kept=len(kept),
    )


def check_enough_groups(where: str, groups: NDArray[np.int64]) -> None:
    """Refuse real images of too few groups (N,) for the copy test, before anything is trained.

    Raises:
        SonoforgeError: Fewer groups than `least_groups`.
    """
    found, least = len(np.unique(groups)), least_groups()
    if found < least:
        raise SonoforgeError(
            f"curated: found {found} groups of real images in {where}, expected at least {least}, which its copy test "
            "needs; add images, or leave the arm out"
        )


def _of_usual_quality(pixels: Pixels, real: Pixels) -> NDArray[np.bool_]:
    """Whether every measure lies in the usual range; all have one resolution, which is left out."""
    if not len(pixels):
        return np.zeros(0, np.bool_)
    low, high = np.percentile(_measured(real), USUAL, axis=0)
    values = _measured(pixels)
    usual: NDArray[np.bool_] = ((values >= low) & (values <= high)).all(axis=1)
    return usual


def _measured(pixels: Pixels) -> NDArray[np.float64]:
    side = pixels.shape[1]
    rows = [quality_metrics.measure(image, side, side) for image in pixels]
    return np.array([[row[name] for name in row if name != "resolution"] for row in rows])


def _copies(pixels: Pixels, images: LabelledImages) -> NDArray[np.bool_]:
    """Whether each image matches a training image better than training images of other groups match each other."""
    if images.groups is None:
        raise SonoforgeError("curated: found images without groups, expected those of a training fold")
    wanted = prepare_training(images.pixels)
    real = match_training(wanted.square, wanted, images.groups)
    best = match_training(prepare(grey_pictures(pixels)), wanted)
    limit = copy_test(best.score, real.score, images.groups, OTHER_GROUPS, len(images)).threshold
    copies: NDArray[np.bool_] = best.score > limit
    return copies
