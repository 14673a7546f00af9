"""Judge one class against the rest by its probability: AUC, sensitivity at fixed specificity, decision curve.

*Sensitivity at a fixed specificity*: each fold's threshold is chosen on the other folds, because on its own images it
would fit their noise. The specificity reached therefore differs from the aim, and is stated beside it.

*Decision curves* (Vickers & Elkin, Med. Decis. Making, 2006): the net benefit of acting above a probability t is the
share of cases acted on minus the share of needless actions times t / (1 - t). It depends on how common the class is.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sonoforge.training.statistics.classification import auc_by_group, delong_test, weighted_auc
from sonoforge.training.statistics.intervals import (
    PERCENTILES,
    Floats,
    Labels,
    group_weights,
    paired_bootstrap,
    percentile_interval,
)
from sonoforge.training.statistics.predictions import Predictions
from sonoforge.training.statistics.results import Interval, Record


def classes_of_interest(classes: Sequence[str]) -> list[str]:
    """Return the classes to detect: ``malignant`` if present, else all."""
    return [name for name in classes if name == "malignant"] or list(classes)


def describe_one_against_rest(part: Predictions, calibrated: Floats, label: int) -> Record:
    """Compute the figures of one class; ``calibrated`` (N, C) probabilities are for the decision curve."""
    positive, scores = part.labels == label, part.probabilities[:, label]
    return {
        "auc": auc_by_group([(positive, scores)], part.groups),
        "sensitivity_at": sensitivity_at(part, label),
        "decision_curve": decision_curve(positive, calibrated[:, label], part.groups),
    }


def sensitivity_at(part: Predictions, label: int, counted: NDArray[np.bool_] | None = None) -> list[Record]:
    """Measure the sensitivity to a class at fixed specificities, see `operating_points`."""
    positive, scores = part.labels == label, part.probabilities[:, label]
    return operating_points(positive, scores, part.parts, part.groups, counted)


def compare_one_against_rest(first: Predictions, second: Predictions, label: int) -> Record:
    """Compare two arms on one class; their images must be in the same order."""
    positive = first.labels == label
    scores = first.probabilities[:, label], second.probabilities[:, label]
    area = paired_bootstrap(weighted_auc, positive, scores[0], scores[1], groups=first.groups)
    changes = sensitivity_differences(positive, scores, (first.parts, second.parts), first.groups)
    return {
        "auc": area,
        "p_value": delong_test(positive, scores[0], scores[1], first.groups).p_value,
        "sensitivity_at": [
            {"aim": aim, "difference": change} for aim, change in zip(SPECIFICITIES, changes, strict=True)
        ],
    }


SPECIFICITIES = (0.90, 0.95)
"""Specificities aimed at."""


class Called(NamedTuple):
    """Sensitivity and specificity, (R, len(SPECIFICITIES)) each; nan if no image of the kind has a weight."""

    sensitivity: Floats
    specificity: Floats


def called(
    positive: NDArray[np.bool_],
    scores: Floats,
    folds: Labels,
    weights: Floats,
    counted: NDArray[np.bool_] | None = None,
) -> Called:
    """Call images positive if their score (N,) is above the threshold of their fold, for weights (R, N).

    The threshold is the smallest score that at least the aimed share of the other folds' negative images does not
    exceed.  If no such image has a weight, nothing is called positive. Weights count both in choosing thresholds and in
    counting; ``counted`` (N,) are the images to count, None for all.
    """
    shown = np.ones(len(scores), bool) if counted is None else counted
    order = np.argsort(scores, kind="stable")
    negative = order[~positive[order]]
    levels = np.append(scores[negative], np.inf)
    right = np.zeros((2, len(SPECIFICITIES), len(weights)))  # weight of right calls: of the class, the rest
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
    positive: NDArray[np.bool_], scores: Floats, folds: Labels, groups: Labels, counted: NDArray[np.bool_] | None = None
) -> list[Record]:
    """Measure sensitivity at each of the `SPECIFICITIES`, with 95 % intervals by resampling groups (N,).

    Each draw of groups sets its own thresholds, so the intervals include their uncertainty.  With ``counted`` (N,),
    only those images are counted, but thresholds are set on all.
    """
    found = called(positive, scores, folds, group_weights(groups), counted)
    return [
        {
            "aim": aim,
            "sensitivity": percentile_interval(found.sensitivity[:, i]),
            "specificity": percentile_interval(found.specificity[:, i]),
        }
        for i, aim in enumerate(SPECIFICITIES)
    ]


def sensitivity_differences(
    positive: NDArray[np.bool_], scores: tuple[Floats, Floats], folds: tuple[Labels, Labels], groups: Labels
) -> list[Interval]:
    """Return the second arm's sensitivity minus the first's at each of the `SPECIFICITIES`, on the same draws."""
    weights = group_weights(groups)
    first, second = (called(positive, own, of, weights).sensitivity for own, of in zip(scores, folds, strict=True))
    return [percentile_interval(change) for change in (second - first).T]


THRESHOLDS = np.arange(2, 51) / 100
"""From 2 %, where BI-RADS starts to advise a biopsy (ACR BI-RADS Atlas, 5th edition, 2013), to even odds."""


def net_benefit(positive: NDArray[np.bool_], probabilities: Floats, weights: Floats) -> Floats:
    """Return the net benefit at each of the T `THRESHOLDS`, (R, T) in cases per image, for weights (R, N)."""
    worth = np.where(positive[:, None], 1.0, -THRESHOLDS / (1 - THRESHOLDS))
    acted = np.where(probabilities[:, None] >= THRESHOLDS, worth, 0.0)
    return np.asarray(weights @ acted / weights.sum(axis=1, keepdims=True))


def decision_curve(positive: NDArray[np.bool_], probabilities: Floats, groups: Labels) -> Record:
    """Compute one arm's curve, with intervals by resampling groups (N,); probabilities must be calibrated."""
    everybody, weights = np.ones(len(positive)), group_weights(groups)
    drawn, drawn_all = (net_benefit(positive, own, weights[1:]) for own in (probabilities, everybody))
    (value,), (all_value,) = (
        net_benefit(positive, own, np.ones((1, len(positive)))) for own in (probabilities, everybody)
    )
    low, high = np.percentile(drawn, PERCENTILES, axis=0)
    gain_low = np.percentile(drawn - np.maximum(drawn_all, 0), PERCENTILES[0], axis=0)
    return {
        "thresholds": THRESHOLDS.tolist(),
        "net_benefit": value.tolist(),
        "low": low.tolist(),
        "high": high.tolist(),
        "treat_all": all_value.tolist(),
        "gain_low": gain_low.tolist(),
    }
