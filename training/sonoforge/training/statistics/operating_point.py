"""Sensitivity at a fixed specificity: how many images of a class are found when few of the others may be called so.

The threshold that gives a specificity is chosen, for each fold, on the images of the other folds: on the very images
that it is measured on it would fit their noise, too.  So the specificity reached differs from the one aimed at, and is
stated beside it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sonoforge.training.statistics.intervals import Floats, Interval, Labels, group_weights, percentile_interval
from sonoforge.training.statistics.results import SensitivityAt, interval_result

SPECIFICITIES = (0.90, 0.95)
"""Specificities aimed at."""


class Called(NamedTuple):
    """Sensitivity and specificity, (R, len(SPECIFICITIES)) each; nan where no image of the kind has a weight."""

    sensitivity: Floats
    specificity: Floats


def called(
    positive: NDArray[np.bool_],
    scores: Floats,
    folds: Labels,
    weights: Floats,
    counted: NDArray[np.bool_] | None = None,
) -> Called:
    """Call each image positive whose score is above the threshold of its fold.

    The threshold is the smallest score of another fold at which at least the aimed share of the other folds' images
    that are not of the class lie at or below it.  Where no such image has a weight, nothing is called positive.

    Args:
        positive: (N,) whether the image is of the class.
        scores: (N,) higher for that class.
        folds: (N,) fold that tested the image.
        weights: (R, N) how often each image counts, in choosing thresholds as in counting.
        counted: (N,) the images to count, though thresholds are chosen on all; None: all.
    """
    shown = np.ones(len(scores), bool) if counted is None else counted
    order = np.argsort(scores, kind="stable")
    negative = order[~positive[order]]
    levels = np.append(scores[negative], np.inf)
    right = np.zeros((2, len(SPECIFICITIES), len(weights)))  # weight of images called rightly: of the class, the rest
    for fold in np.unique(folds):
        own = folds == fold
        cumulative = np.cumsum(np.where(own[negative], 0.0, weights[:, negative]), axis=1)
        total = cumulative[:, -1] if len(negative) else np.zeros(len(weights))
        for i, aim in enumerate(SPECIFICITIES):
            # Weights are whole numbers; the small allowance is for the product's rounding.
            below = (cumulative < (aim * total - 1e-6)[:, None]).sum(axis=1)
            thresholds = np.where(total > 0, levels[below], np.inf)[:, None]
            found, spared = own & shown & positive, own & shown & ~positive
            right[0, i] += np.where(scores[found] > thresholds, weights[:, found], 0.0).sum(axis=1)
            right[1, i] += np.where(scores[spared] <= thresholds, weights[:, spared], 0.0).sum(axis=1)
    with np.errstate(invalid="ignore"):
        sensitivity, specificity = (
            (own / weights[:, kind & shown].sum(axis=1)).T
            for own, kind in zip(right, (positive, ~positive), strict=True)
        )
    return Called(sensitivity, specificity)


def operating_points(
    positive: NDArray[np.bool_],
    scores: Floats,
    folds: Labels,
    groups: Labels,
    counted: NDArray[np.bool_] | None = None,
) -> list[SensitivityAt]:
    """Measure sensitivity at each of the `SPECIFICITIES`, with 95 % intervals by resampling groups (N,).

    Each draw of groups sets its own thresholds, so the intervals include how uncertain these are.  With ``counted``
    (N,), only those images are counted, though thresholds are set on all of the other folds.
    """
    value = called(positive, scores, folds, np.ones((1, len(scores))), counted)
    drawn = called(positive, scores, folds, group_weights(groups), counted)
    return [
        SensitivityAt(
            aim=aim,
            sensitivity=interval_result(percentile_interval(float(value.sensitivity[0, i]), drawn.sensitivity[:, i])),
            specificity=interval_result(percentile_interval(float(value.specificity[0, i]), drawn.specificity[:, i])),
        )
        for i, aim in enumerate(SPECIFICITIES)
    ]


def sensitivity_differences(
    positive: NDArray[np.bool_], scores: tuple[Floats, Floats], folds: tuple[Labels, Labels], groups: Labels
) -> list[Interval]:
    """Sensitivity of the second arm minus the first's at each of the `SPECIFICITIES`, on the same images and draws."""
    drawn, value = (
        [called(positive, own, of, weights).sensitivity for own, of in zip(scores, folds, strict=True)]
        for weights in (group_weights(groups), np.ones((1, len(positive))))
    )
    change, drawn_change = value[1] - value[0], drawn[1] - drawn[0]
    return [percentile_interval(float(change[0, i]), drawn_change[:, i]) for i in range(len(SPECIFICITIES))]
