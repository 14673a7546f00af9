"""Judge one class against the rest by its probability: AUC, sensitivity at fixed specificity, decision curve.

*Sensitivity at a fixed specificity*: each fold's threshold is chosen on the other folds, because on its own images it
would fit their noise. The specificity reached therefore differs from the aim, and is stated beside it.

*Decision curves* (Vickers & Elkin, Med. Decis. Making, 2006): the net benefit of acting above a probability t is the
share of cases acted on minus the share of needless actions times t / (1 - t). It depends on how common the class is.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.inference.adaptation import Z, design_effect
from sonoforge.training.statistics.classification import auc_by_group, delong_test, weighted_auc
from sonoforge.training.statistics.intervals import (
    PERCENTILES,
    Floats,
    Labels,
    group_weights,
    paired_bootstrap,
    percentile_interval,
    wilson_by_group,
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
        "sensitivity_at": operating_points(positive, scores, part.parts, part.groups),
        "decision_curve": decision_curve(positive, calibrated[:, label], part.groups),
    }


def sensitivity_at(
    part: Predictions, classes: Sequence[str], counted: NDArray[np.bool_] | bool = True
) -> dict[str, list[Record]]:
    """Compute the `operating_points` of `classes_of_interest` that some of the counted images have, and not all."""
    sides = {name: part.labels == classes.index(name) for name in classes_of_interest(classes)}
    return {
        name: operating_points(own, part.probabilities[:, classes.index(name)], part.parts, part.groups, counted)
        for name, own in sides.items()
        if (own & counted).any() and (~own & counted).any()
    }


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


def limits_by_fold(
    positive: NDArray[np.bool_], scores: Floats, folds: Labels, weights: Floats, aims: Sequence[float] = SPECIFICITIES
) -> Floats:
    """Return the scores above which images of each of F folds are called positive, (A, R, F) for weights (R, N).

    That is the smallest score that at least the aimed share of the other folds' negative images does not exceed;
    infinite if no such image has a weight, or an aim is above 1.
    """
    negative = np.flatnonzero(~positive)[np.argsort(scores[~positive], kind="stable")]
    levels, found = np.append(scores[negative], np.inf), []
    for fold in np.unique(folds):
        cumulative = np.cumsum(np.where(folds[negative] == fold, 0.0, weights[:, negative]), axis=1)
        total = cumulative[:, -1] if len(negative) else np.zeros(len(weights))
        # Weights are whole numbers; the small allowance is for the product's rounding.
        below = np.stack([(cumulative < (aim * total - 1e-6)[:, None]).sum(axis=1) for aim in aims])
        found.append(np.where(total > 0, levels[below], np.inf))
    return np.stack(found, axis=2)


def sensitivities(positive: NDArray[np.bool_], scores: Floats, folds: Labels, weights: Floats) -> Floats:
    """Return the share above `limits_by_fold`, (R, len(SPECIFICITIES)); nan if no image of the class has a weight."""
    fold = np.unique(folds, return_inverse=True)[1][positive]
    calls = scores[positive] > limits_by_fold(positive, scores, folds, weights)[:, :, fold]
    with np.errstate(invalid="ignore"):
        return np.asarray(((calls * weights[:, positive]).sum(axis=2) / weights[:, positive].sum(axis=1)).T)


def operating_points(
    positive: NDArray[np.bool_], scores: Floats, folds: Labels, groups: Labels, counted: NDArray[np.bool_] | bool = True
) -> list[Record]:
    """Measure sensitivity at each of the `SPECIFICITIES`, with 95 % intervals by group (N,).

    The sensitivity's adds to that of the images called the sensitivities at both ends of the threshold's interval, the
    order statistics that the aim does not rule out (Platt, Hanley & Yang, Stat. Med. 19, 2000; added as Zou & Donner do
    in Stat. Med. 27, 2008).  Where the highest score of few images does not bound the threshold, it reaches down to 0.
    With ``counted`` (N,), only those images are counted, but thresholds are set on all.
    """
    fold, once, points = np.unique(folds, return_inverse=True)[1], np.ones((1, len(scores))), []
    found, spared = positive & counted, ~positive & counted

    def above(*aims: float) -> NDArray[np.bool_]:
        return np.asarray(scores > limits_by_fold(positive, scores, folds, once, aims)[:, 0, fold])

    for aim in SPECIFICITIES:
        (calls,) = above(aim)
        point = {"sensitivity": (calls, found), "specificity": (~calls, spared)}
        shares = {name: wilson_by_group(right[side], groups[side]) for name, (right, side) in point.items()}
        if found.any() and not positive.all():
            effect, _ = design_effect(calls[~positive], groups[~positive])
            slack = Z * np.sqrt(aim * (1 - aim) * effect / (~positive).sum())
            own, (most, least) = shares["sensitivity"], above(aim - slack, aim + slack)[:, found].mean(axis=1)
            own["low"] = max(0.0, own["value"] - float(np.hypot(own["value"] - own["low"], own["value"] - least)))
            own["high"] = min(1.0, own["value"] + float(np.hypot(own["high"] - own["value"], most - own["value"])))
        points.append({"aim": aim, **shares})
    return points


def sensitivity_differences(
    positive: NDArray[np.bool_], scores: tuple[Floats, Floats], folds: tuple[Labels, Labels], groups: Labels
) -> list[Interval]:
    """Return the second arm's sensitivity minus the first's at each of the `SPECIFICITIES`, on the same draws."""
    weights = group_weights(groups)
    first, second = (sensitivities(positive, own, of, weights) for own, of in zip(scores, folds, strict=True))
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
