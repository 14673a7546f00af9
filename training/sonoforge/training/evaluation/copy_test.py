"""The copy test of an evaluation: which generated images are copies of training images."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sonoforge.training.copies.generated import find_copies
from sonoforge.training.copies.nearest_training import (
    Nearest,
    data_copying,
    nearest_few,
    nearest_other_group,
    nearest_training,
)
from sonoforge.training.evaluation.image_set import HeldOut, ImageSet
from sonoforge.training.statistics.results import Record

SHOWN_COPIES, SHOWN_NEAREST = 8, 4  # generated images, and training images beside each


class TestedCopies(NamedTuple):
    """The result, and what its pictures show."""

    result: Record
    scores: tuple[NDArray[np.floating], NDArray[np.floating]]  # best match of generated and of calibrating images
    distances: tuple[NDArray[np.floating], NDArray[np.floating]]  # of both to the closest training image
    shown: NDArray[np.intp]  # generated images: copies first, then those nearest to a training image
    nearest: Nearest  # training images closest to each of those, (N, k)
    shown_scores: NDArray[np.float64]  # (N,) score of the match; 0 if the image is not a copy


def find_tested_copies(real: ImageSet, fake: ImageSet, held_out: HeldOut | None, seed: int) -> TestedCopies:
    """Run the copy test; ``seed`` draws the planted copies.

    Raises:
        SonoforgeError: Too few groups to calibrate with.
    """
    if held_out is None:
        groups, calibrating = real.groups, None
    else:
        groups, calibrating = held_out.trained, (held_out.images.pixels, held_out.groups)
    found = find_copies(fake.pixels, real.pixels, groups, calibrating, seed=seed)
    distance = nearest_training(fake.pixels, real.pixels).distance
    if calibrating is None:
        compared = nearest_other_group(real.pixels, groups).distance
    else:
        compared = nearest_training(calibrating[0], real.pixels).distance
    score = np.where(found.best.score > found.test["threshold"], found.best.score, 0.0)
    order = np.lexsort((distance, -score))  # copies first, then those nearest to a training image
    shown, flagged = order[:SHOWN_COPIES], order[: found.test["copies"]]
    few = nearest_few(fake.pixels[shown], real.pixels, SHOWN_NEAREST)
    few = Nearest(few.distance.copy(), few.training_index.copy(), few.mirrored.copy())
    for row, index in enumerate(shown.tolist()):  # of a copy, the training image that it matches comes first
        if score[index] > 0:
            matched = int(found.best.training_index[index])
            kept = np.flatnonzero(few.training_index[row] != matched)[: few.training_index.shape[1] - 1]
            few.training_index[row] = [matched, *few.training_index[row, kept]]
            few.mirrored[row] = [found.best.mirrored[index], *few.mirrored[row, kept]]
            few.distance[row] = [0.0, *few.distance[row, kept]]
    result: Record = {
        **found.test,
        "data_copying_z": data_copying(distance, compared),
        "flagged": [fake.names[index] for index in flagged],
        "nearest": [real.names[found.best.training_index[index]] for index in flagged],
        "scores": score[flagged].tolist(),
        "recall": found.recall,
    }
    return TestedCopies(result, (found.best.score, found.real.score), (distance, compared), shown, few, score[shown])
