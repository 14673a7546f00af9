"""Figures of a bundle on images from elsewhere; nothing is fitted on them but the thresholds of `sensitivity_at`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.inference.trust import Cause
from sonoforge.training.statistics.calibration import brier_score, expected_calibration_errors
from sonoforge.training.statistics.classification import confusion_matrix, sensitivity, specificity
from sonoforge.training.statistics.decision import reweight
from sonoforge.training.statistics.flagged import compare_flagged
from sonoforge.training.statistics.intervals import Floats, Labels, group_bootstrap, wilson_by_group
from sonoforge.training.statistics.one_against_rest import classes_of_interest, sensitivity_at
from sonoforge.training.statistics.predictions import Predictions
from sonoforge.training.statistics.results import Record
from sonoforge.training.statistics.tables import describe_source, pair_areas
from sonoforge.training.validation.collections import Meanings

if TYPE_CHECKING:  # of Python 3.11
    from typing_extensions import Self


@dataclass(frozen=True, eq=False, kw_only=True)
class Answers(Predictions):
    """A bundle's calibrated answers to N images of one collection; labels index its `Meanings`."""

    name: str  # of the collection
    sets: NDArray[np.bool_]  # (N, C) prediction sets
    causes: tuple[tuple[Cause, ...], ...]  # (N,) of distrust
    prevalence: tuple[float, ...] = ()  # (C,) class shares of the answers; empty: equal ones

    def reordered(self, order: Labels) -> Self:
        """Return the answers to the images at these indices."""
        causes = tuple(self.causes[i] for i in order)
        return replace(super().reordered(order), sets=self.sets[order], causes=causes)


RECIPE = ("data", "arm", "weights", "settings")
"""What a validation records of a bundle's training."""


def at_own_shares(given: Answers, columns: Floats) -> Floats:
    """Return the labels' probabilities (N, K) at the label shares of these images, for calibration.

    Args:
        given: The bundle's answers.
        columns: (C, K) sums that give the labels' probabilities, see `collapse`.
    """
    found = np.array(given.prevalence or [1 / len(columns)] * len(columns)) @ columns
    counts = np.bincount(given.labels, minlength=columns.shape[1])
    return reweight(given.probabilities @ columns, found, np.maximum(counts, 0.5) / len(given.labels))


def describe(given: Answers, meanings: Meanings, classes: Sequence[str]) -> Record:
    """Compute the figures of one collection.

    Args:
        given: The bundle's answers.
        meanings: Classes of the bundle that each label covers: their probabilities are added.
        classes: Those of the bundle.
    """
    columns, names = collapse(meanings, classes)
    probabilities = given.probabilities @ columns
    own = at_own_shares(given, columns)
    part = replace(given, probabilities=probabilities)
    labels, groups, right = part.labels, part.groups, part.predicted == part.labels
    counts = np.bincount(labels, minlength=len(meanings))
    covered = (given.sets @ columns)[np.arange(len(labels)), labels] > 0
    shown = [i for i in range(len(meanings)) if counts[i]]
    flags = {"any cause": np.array([bool(causes) for causes in given.causes])}
    flags |= {cause.value: np.array([cause in causes for causes in given.causes]) for cause in Cause}
    return {
        "name": given.name,
        "labels": {label: list(meaning) for label, meaning in meanings.items()},
        "images": dict(zip(meanings, counts.tolist(), strict=True)),
        "groups": len(np.unique(groups)),
        "answers": names,
        "confusion": confusion_matrix(labels, part.predicted, len(names))[: len(meanings)].tolist(),
        "accuracy": wilson_by_group(right, groups),
        "sensitivity": {names[i]: sensitivity(labels, part.predicted, groups, i) for i in shown},
        "specificity": {names[i]: specificity(labels, part.predicted, groups, i) for i in shown},
        "auc": pair_areas(part, names),
        "sensitivity_at": {
            name: sensitivity_at(part, names.index(name))
            for name in classes_of_interest(names[: len(meanings)])
            if 0 < counts[names.index(name)] < len(labels)
        },
        "ece": group_bootstrap(expected_calibration_errors, labels, own, groups),
        "brier": brier_score(labels, own),
        "coverage": {names[i]: wilson_by_group(covered[labels == i], groups[labels == i]) for i in shown},
        "mean_set_size": float(given.sets.sum(axis=1).mean()),
        "flags": compare_flagged(~right, flags, groups),
        "devices": [
            describe_source(("device", name), part, np.array(given.devices) == name, names, (own, covered))
            for name in sorted(set(given.devices) - {""})
        ],
    }


def collapse(meanings: Meanings, classes: Sequence[str]) -> tuple[Floats, list[str]]:
    """Return the (C, K) sums that give the labels' probabilities, and the names of the K answers."""
    covered = {name for meaning in meanings.values() for name in meaning}
    answers = [*meanings.items(), *((name, (name,)) for name in classes if name not in covered)]
    columns = np.array([[float(name in meaning) for _, meaning in answers] for name in classes])
    return columns, [name for name, _ in answers]
