"""One class against the rest, by its probability: AUC, sensitivity at fixed specificity, decision curve."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sonoforge.training.statistics.auc import delong_test, weighted_auc
from sonoforge.training.statistics.decision_curves import decision_curve
from sonoforge.training.statistics.intervals import Floats, group_bootstrap
from sonoforge.training.statistics.operating_point import SPECIFICITIES, operating_points, sensitivity_differences
from sonoforge.training.statistics.paired import paired_bootstrap
from sonoforge.training.statistics.predictions import Predictions
from sonoforge.training.statistics.results import (
    ClassDifference,
    OneAgainstRest,
    SensitivityAt,
    SensitivityDifference,
    interval_result,
)


def classes_of_interest(classes: Sequence[str]) -> list[str]:
    """Return the classes whose detection is the question: ``malignant`` where there is one, else all of them."""
    return [name for name in classes if name == "malignant"] or list(classes)


def describe_one_against_rest(part: Predictions, calibrated: Floats, label: int) -> OneAgainstRest:
    """Compute the figures of one class.

    Args:
        part: Predictions of one arm with one seed, N images.
        calibrated: (N, C) probabilities that mean what they say, for the decision curve.
        label: Number of the class.
    """
    positive, scores = part.labels == label, part.probabilities[:, label]
    return OneAgainstRest(
        auc=interval_result(group_bootstrap(weighted_auc, positive, scores, part.groups)),
        sensitivity_at=sensitivity_at(part, label),
        decision_curve=decision_curve(positive, calibrated[:, label], part.groups),
    )


def sensitivity_at(part: Predictions, label: int, counted: NDArray[np.bool_] | None = None) -> list[SensitivityAt]:
    """Measure the sensitivity to a class at fixed specificities, see `operating_point.operating_points`."""
    positive, scores = part.labels == label, part.probabilities[:, label]
    return operating_points(positive, scores, part.parts, part.groups, counted)


def compare_one_against_rest(first: Predictions, second: Predictions, label: int) -> ClassDifference:
    """Compare two arms on one class; their images must be in the same order."""
    positive = first.labels == label
    scores = first.probabilities[:, label], second.probabilities[:, label]
    area = paired_bootstrap(weighted_auc, positive, scores[0], scores[1], groups=first.groups)
    changes = sensitivity_differences(positive, scores, (first.parts, second.parts), first.groups)
    return ClassDifference(
        auc=interval_result(area),
        p_value=delong_test(positive, scores[0], scores[1], first.groups).p_value,
        sensitivity_at=[
            SensitivityDifference(aim=aim, difference=interval_result(change))
            for aim, change in zip(SPECIFICITIES, changes, strict=True)
        ],
    )
