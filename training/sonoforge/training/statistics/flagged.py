"""Do the causes that speak against an answer predict errors?  Error rates of the flagged held-out scans and the others.

A flag whose scans are answered wrongly hardly more often than the others says nothing of accuracy.  No limit is set on
the scans that it is counted on, but on those of the other folds.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from sonoforge.training.statistics.calibration import cross_fitted_temperature, in_sets
from sonoforge.training.statistics.intervals import (
    Floats,
    Labels,
    group_weights,
    percentile_interval,
    wilson_by_group,
)
from sonoforge.training.statistics.predictions import Predictions
from sonoforge.training.statistics.results import FlagResult, Interval

ENOUGH = 1.5
"""Error rate of the flagged scans over that of the others, below which a flag is no reason to doubt the label."""


def describe_flags(
    part: Predictions, alpha: float, distances: Mapping[str, Floats], marked: Mapping[str, NDArray[np.bool_]]
) -> list[FlagResult]:
    """Count errors by flag; flags of no scan or of all are left out.

    Args:
        part: Predictions of one arm with one seed, N images.
        alpha: Error rate of the prediction sets: the first flag marks those without exactly one class.
        distances: (N,) by flag, which marks what lies beyond the 95th percentile of the other folds' images.
        marked: (N,) by flag, as the images are.
    """
    calibrated = cross_fitted_temperature(part.labels, part.probabilities, part.parts)
    flags = {
        "between two classes": in_sets(part.labels, calibrated, part.parts, alpha).sum(axis=1) != 1,
        **{name: beyond(values, part.parts) for name, values in distances.items()},
        **marked,
    }
    found = compare_flagged(part.predicted != part.labels, flags, part.groups)
    for row in found if part.collections else []:
        row["by_collection"] = _by_collection(part, flags[row["flag"]])
    return found


def _by_collection(part: Predictions, flag: NDArray[np.bool_]) -> dict[str, Interval]:
    """Return the share of the images of each collection that have the flag."""
    names = np.array(part.collections)
    return {
        name: wilson_by_group(flag[names == name], part.groups[names == name]) for name in sorted(set(part.collections))
    }


def compare_flagged(
    wrong: NDArray[np.bool_], flags: Mapping[str, NDArray[np.bool_]], groups: Labels
) -> list[FlagResult]:
    """Compare the error rates of the images (N,) with each flag and of the others; see `describe_flags`."""
    found = []
    for name, flag in flags.items():
        if flag.any() and not flag.all():
            found.append(
                FlagResult(
                    flag=name,
                    images=int(flag.sum()),
                    errors=wilson_by_group(wrong[flag], groups[flag]),
                    errors_of_others=wilson_by_group(wrong[~flag], groups[~flag]),
                    ratio=error_ratio(wrong, flag, groups),
                )
            )
    return found


def beyond(values: Floats, folds: Labels, percentile: float = 95) -> NDArray[np.bool_]:
    """Mark the values (N,) beyond this percentile of those of the other folds."""
    marked = np.zeros(len(values), dtype=bool)
    for fold in np.unique(folds):
        test = folds == fold
        marked[test] = values[test] > np.percentile(values[~test], percentile)
    return marked


def error_ratio(wrong: NDArray[np.bool_], flag: NDArray[np.bool_], groups: Labels) -> Interval | None:
    """Error rate of the flagged images (N,) over that of the others, with a 95 % interval by resampling groups.

    None where a draw has none of the flagged images, or no error among the others.
    """
    weights = group_weights(groups)
    with np.errstate(divide="ignore", invalid="ignore"):
        errors, of_others = ((weights @ (wrong & kind)) / (weights @ kind) for kind in (flag, ~flag))
        ratios = errors / of_others
    return percentile_interval(ratios) if np.isfinite(ratios).all() else None
