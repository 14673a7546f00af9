"""Abstention and distrust: the risk-coverage curve, and whether the causes of low trust predict errors.

El-Yaniv & Wiener, On the foundations of noise-free selective classification, JMLR 11 (2010); Geifman & El-Yaniv,
Selective classification for deep neural networks, NeurIPS 2017.  A classifier withholds its least probable labels; on
sealed folds of BUSI no score that also used the distances from the training images made a better curve
(``runtime/docs/trust.md``).

A flag is useful if flagged scans are wrong more often than others.  Its limit is set on the other folds.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from sonoforge.training.statistics.calibration import Calibrated, calibrate, in_sets, own_answers
from sonoforge.training.statistics.intervals import (
    Floats,
    Labels,
    group_weights,
    percentile_interval,
    wilson_by_group,
)
from sonoforge.training.statistics.predictions import Predictions
from sonoforge.training.statistics.results import Interval, Record

TARGETS = (0.10, 0.05, 0.02)
"""Error rates among the scans that keep their label."""


def risks(wrong: NDArray[np.bool_], confidence: Floats, weights: Floats) -> tuple[Floats, Floats, Floats]:
    """Return the error rate when only the most probable labels are kept.

    Args:
        wrong: (N,) whether the label is wrong.
        confidence: (N,) its probability.
        weights: (R, N) how often each scan counts.

    Returns:
        Error rate (R, K), number of scans kept (R, K), and least probability (K,), for each distinct probability in
        falling order; the rate is nan if no scan kept has a weight.
    """
    order = np.argsort(-confidence, kind="stable")
    sure = confidence[order]
    ends = np.flatnonzero(np.append(sure[:-1] > sure[1:], True))  # equal probabilities are kept or left together
    kept = np.cumsum(weights[:, order], axis=1)[:, ends]
    errors = np.cumsum(np.where(wrong[order], weights[:, order], 0.0), axis=1)[:, ends]
    return np.divide(errors, kept, out=np.full(kept.shape, np.nan), where=kept > 0), kept, sure[ends]


def area_under_risk(wrong: NDArray[np.bool_], confidence: Floats) -> float:
    """Return the mean error rate over all numbers of scans kept; a random order has the error rate itself."""
    (risk,), (kept,), _ = risks(wrong, confidence, np.ones((1, len(wrong))))
    return float(np.average(risk, weights=np.diff(kept, prepend=0)))


def cuts(wrong: NDArray[np.bool_], confidence: Floats, groups: Labels) -> list[Record]:
    """Find the least abstention for each of the `TARGETS`, with 95 % intervals by resampling groups (N,)."""
    weights = group_weights(groups)
    risk, kept, least = risks(wrong, confidence, weights)
    found = []
    for error in TARGETS:
        most = np.where(risk <= error, kept, 0.0).max(axis=1)
        allowed = np.flatnonzero(risk[0] <= error)
        found.append(
            {
                "error": error,
                "least_probability": float(least[allowed[-1]]) if len(allowed) else 1.0,
                "abstained": percentile_interval(1 - most / weights.sum(axis=1)),
            }
        )
    return found


ENOUGH = 1.5
"""Ratio of the error rates of flagged and other scans below which a flag is no reason to doubt the label."""


def describe_flags(
    part: Predictions,
    alpha: float,
    distances: Mapping[str, Floats],
    marked: Mapping[str, NDArray[np.bool_]],
    by_fold: Sequence[Calibrated] = (),
) -> list[Record]:
    """Count errors by flag, without flags of no scan or of all.

    Args:
        part: Predictions of one arm with one seed, N images.
        alpha: Error rate of the prediction sets; the first flag marks sets without exactly one class.
        distances: (N,) by flag, which marks values beyond the 95th percentile of the other folds' images.
        marked: (N,) by flag.
        by_fold: The answers for labels and sets; by default, those of `calibrate`.
    """
    by_fold = by_fold or calibrate(part.labels, part.probabilities, part.parts)
    flags = {
        "several classes left": in_sets(part.labels, by_fold, alpha).sum(axis=1) != 1,
        **{name: beyond(values, part.parts) for name, values in distances.items()},
        **marked,
    }
    found = compare_flagged(own_answers(by_fold).argmax(axis=1) != part.labels, flags, part.groups)
    for row in found if part.collections else []:
        row["by_collection"] = _by_collection(part, flags[row["flag"]])
    return found


def _by_collection(part: Predictions, flag: NDArray[np.bool_]) -> dict[str, Interval]:
    """Return the share of flagged images in each collection."""
    names = np.array(part.collections)
    return {
        name: wilson_by_group(flag[names == name], part.groups[names == name]) for name in sorted(set(part.collections))
    }


def compare_flagged(wrong: NDArray[np.bool_], flags: Mapping[str, NDArray[np.bool_]], groups: Labels) -> list[Record]:
    """Compare the error rates of images (N,) with and without each flag, see `describe_flags`."""
    found = []
    for name, flag in flags.items():
        if flag.any() and not flag.all():
            found.append(
                {
                    "flag": name,
                    "images": int(flag.sum()),
                    "errors": wilson_by_group(wrong[flag], groups[flag]),
                    "errors_of_others": wilson_by_group(wrong[~flag], groups[~flag]),
                    "ratio": error_ratio(wrong, flag, groups),
                }
            )
    return found


def beyond(values: Floats, folds: Labels, percentile: float = 95) -> NDArray[np.bool_]:
    """Mark the values (N,) beyond this percentile of the other folds' values."""
    marked = np.zeros(len(values), dtype=bool)
    for fold in np.unique(folds):
        test = folds == fold
        marked[test] = values[test] > np.percentile(values[~test], percentile)
    return marked


def error_ratio(wrong: NDArray[np.bool_], flag: NDArray[np.bool_], groups: Labels) -> Interval | None:
    """Return the ratio of the error rates of flagged and other images (N,), with a 95 % interval by resampling groups.

    None if a draw has no flagged image, or no error among the others.
    """
    weights = group_weights(groups)
    with np.errstate(divide="ignore", invalid="ignore"):
        errors, of_others = ((weights @ (wrong & kind)) / (weights @ kind) for kind in (flag, ~flag))
        ratios = errors / of_others
    return percentile_interval(ratios) if np.isfinite(ratios).all() else None
