"""The figures of one arm by collection and by device: a pooled figure hides the scanner that a model cannot read."""

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sonoforge.training.statistics.calibration import expected_calibration_errors, in_sets
from sonoforge.training.statistics.classification import macro_aucs, weighted_auc
from sonoforge.training.statistics.intervals import Floats, Labels, group_bootstrap, wilson_by_group
from sonoforge.training.statistics.one_against_rest import classes_of_interest, sensitivity_at
from sonoforge.training.statistics.predictions import Predictions
from sonoforge.training.statistics.results import Interval, SourceFigures

MACRO = "each class against the rest, mean"
"""What the macro-AUC is called among the areas; only of images of all classes."""


def describe_sources(
    part: Predictions, classes: Sequence[str], calibrated: Floats, alpha: float
) -> list[SourceFigures]:
    """Compute the figures of each collection, then those of each device, as far as they are known.

    Collections need not have all classes, so what is compared from one to the next is how well two classes are told
    apart: the AUC on the images of these two, by the probability of the one among both.  Temperature, prediction sets
    and thresholds are fitted on the images of the other folds, of whatever source.

    Args:
        part: Predictions of one arm with one seed, N images.
        classes: C names.
        calibrated: (N, C) probabilities, see `calibration.cross_fitted_temperature`.
        alpha: Error rate of the prediction sets.
    """
    covered = in_sets(part.labels, calibrated, part.parts, alpha)[np.arange(len(part.labels)), part.labels]
    return [
        describe_source((kind, name), part, np.array(column) == name, classes, (calibrated, covered))
        for kind, column in (("collection", part.collections), ("device", part.devices))
        for name in sorted(set(column) - {""})
    ]


def describe_source(
    named: tuple[str, str],
    whole: Predictions,
    own: NDArray[np.bool_],
    classes: Sequence[str],
    judged: tuple[Floats, NDArray[np.bool_]],
) -> SourceFigures:
    """Compute the figures of some of the images (N,), named by kind and name.

    ``judged`` are calibrated probabilities (N, C), and whether the prediction set holds the true class (N,).
    """
    kind, name = named
    calibrated, covered = judged
    part = whole.reordered(np.flatnonzero(own))
    counts = np.bincount(part.labels, minlength=len(classes))
    return SourceFigures(
        kind=kind,
        name=name,
        images={own: int(count) for own, count in zip(classes, counts, strict=True)},
        groups=len(np.unique(part.groups)),
        accuracy=wilson_by_group(part.predicted == part.labels, part.groups),
        auc=pair_areas(part, classes),
        sensitivity_at={
            each: sensitivity_at(whole, classes.index(each), own)
            for each in classes_of_interest(classes)
            if 0 < counts[classes.index(each)] < len(part.labels)
        },
        ece=group_bootstrap(expected_calibration_errors, part.labels, calibrated[own], part.groups),
        coverage=wilson_by_group(covered[own], part.groups),
    )


def second_of_two(pair: Floats) -> Floats:
    """Return the probability (N,) of the second of two classes (N, 2) among both, which may be 0 beside a third."""
    scores: Floats = pair[:, 1] / np.maximum(pair.sum(axis=1), np.finfo(float).tiny)
    return scores


class ToldApart(NamedTuple):
    """Two kinds among N images that an AUC is of: two classes, or one against all others."""

    name: str
    chosen: NDArray[np.bool_]  # (N,) the images of both
    positive: NDArray[np.bool_]  # of the chosen ones, whether each is of the first kind
    scores: Callable[[Floats], Floats]  # from the probabilities (M, C) of the chosen ones to their scores (M,)


def told_apart(labels: Labels, classes: Sequence[str]) -> Iterator[ToldApart]:
    """Yield every two classes that occur, as ``worse against better``, then the first of them against the others."""
    present = np.unique(labels).tolist()
    for other, own in combinations(present, 2):
        chosen = np.isin(labels, (other, own))
        yield ToldApart(f"{classes[own]} against {classes[other]}", chosen, labels[chosen] == own, _second(other, own))
    if len(present) > 2:
        first = present[0]
        everywhere = np.ones(len(labels), bool)
        yield ToldApart(f"{classes[first]} against the rest", everywhere, labels == first, lambda p: p[:, first])


def _second(other: int, own: int) -> Callable[[Floats], Floats]:
    return lambda probabilities: second_of_two(probabilities[:, [other, own]])


def pair_areas(part: Predictions, classes: Sequence[str]) -> dict[str, Interval]:
    """Return the AUC of every two classes that occur, as `results.SourceFigures` has them."""
    areas = {
        kinds.name: group_bootstrap(
            weighted_auc, kinds.positive, kinds.scores(part.probabilities[kinds.chosen]), part.groups[kinds.chosen]
        )
        for kinds in told_apart(part.labels, classes)
    }
    if len(np.unique(part.labels)) == len(classes) > 2:
        areas[MACRO] = group_bootstrap(macro_aucs, part.labels, part.probabilities, part.groups)
    return areas
