"""Compute calibration, conformal prediction sets and abstention, and test whether causes of low trust predict errors.

A classifier withholds its least probable labels (El-Yaniv & Wiener, JMLR 11, 2010; Geifman & El-Yaniv, NeurIPS 2017);
on sealed folds of BUSI, no score that also used distances from the training images gave a better curve
(``runtime/docs/trust.md``).  A flag is useful if flagged scans are wrong more often than others.  Its limit is set on
the other folds.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.inference.adaptation import Decided
from sonoforge.training.statistics.intervals import (
    Floats,
    Labels,
    group_weights,
    percentile_interval,
    wilson_by_group,
)
from sonoforge.training.statistics.predictions import Predictions
from sonoforge.training.statistics.results import Interval, Record

with suppress(ImportError):  # not in the base install, which validates without
    from scipy import optimize, special

BINS = 15
"""Equal-width bins of the expected calibration error."""


def brier_score(labels: Labels, probabilities: Floats) -> float:
    """Return the mean squared distance of the probability vector from the one-hot truth, 0..2 (Brier 1950)."""
    truth = np.eye(probabilities.shape[1])[labels]
    return float(np.mean(np.sum((probabilities - truth) ** 2, axis=1)))


def expected_calibration_error(labels: Labels, probabilities: Floats) -> float:
    """Return the ECE of the top label in `BINS` equal bins (Guo et al., ICML 2017, eq. 3), 0..1."""
    return float(expected_calibration_errors(labels, probabilities, np.ones((1, len(labels))))[0])


def expected_calibration_errors(labels: Labels, probabilities: Floats, weights: Floats) -> Floats:
    """Return the ECE for R weightings (R, N) of the images, (R,), for the bootstrap."""
    confidence = probabilities.max(axis=1)
    surplus = confidence - (probabilities.argmax(axis=1) == labels)
    bins = np.eye(BINS)[np.minimum((confidence * BINS).astype(int), BINS - 1)]
    return np.asarray(np.abs(weights @ (bins * surplus[:, None])).sum(axis=1) / weights.sum(axis=1))


class Bin(NamedTuple):
    """Images with the highest probability in one interval: mean probability, accuracy, number."""

    confidence: float
    accuracy: Interval
    images: int


def reliability(labels: Labels, probabilities: Floats, groups: Labels) -> list[Bin]:
    """Group images by their highest probability into `BINS` equal intervals, leaving out empty ones."""
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    bin_of = np.minimum((confidence * BINS).astype(int), BINS - 1)
    bins = []
    for index in np.unique(bin_of):
        inside = bin_of == index
        share = wilson_by_group(correct[inside], groups[inside])
        bins.append(Bin(float(confidence[inside].mean()), share, int(inside.sum())))
    return bins


def apply_temperature(probabilities: Floats, temperature: float) -> Floats:
    """Return softmax(log(probabilities) / temperature), (N, C)."""
    return np.asarray(special.softmax(np.log(np.clip(probabilities, 1e-12, None)) / temperature, axis=1))


def fit_temperature(labels: Labels, probabilities: Floats) -> float:
    """Return the temperature with the lowest negative log-likelihood (Guo et al. 2017, section 4.2), 0.05..20."""
    rows = np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        scaled = apply_temperature(probabilities, float(np.exp(log_temperature)))
        return float(-np.log(np.clip(scaled[rows, labels], 1e-12, None)).mean())

    found = optimize.minimize_scalar(loss, bounds=(np.log(0.05), np.log(20.0)), method="bounded")
    return float(np.exp(found.x))


class Calibrated(NamedTuple):
    """All N answers, calibrated without one fold's labels, so that its thresholds need not read them either."""

    test: NDArray[np.bool_]  # (N,) the images of the fold
    probabilities: Floats  # (N, C)


def calibrate(labels: Labels, probabilities: Floats, fold_of: Labels) -> list[Calibrated]:
    """Scale all answers (N, C), once for each fold, by the temperature of the other folds' answers.

    Answers of a single fold stay unchanged.
    """
    found = []
    for fold in np.unique(fold_of):
        test = fold_of == fold
        temperature = 1.0 if test.all() else fit_temperature(labels[~test], probabilities[~test])
        found.append(Calibrated(test, apply_temperature(probabilities, temperature)))
    return found


def own_answers(by_fold: Sequence[Calibrated]) -> Floats:
    """Return the answers (N, C), each calibrated without its own fold."""
    own = np.empty_like(by_fold[0].probabilities)
    for test, probabilities in by_fold:
        own[test] = probabilities[test]
    return own


def conformal_thresholds(labels: Labels, probabilities: Floats, alpha: float) -> Floats:
    """Return the smallest probability at which each class enters the prediction set, (C,).

    Class-conditional split conformal prediction (Vovk 2013; Sadinle et al., JASA 2019): at least 1 - alpha of a class's
    images reach its threshold, with the finite-sample correction; 0 if the class has too few images for this level.
    """
    thresholds = np.zeros(probabilities.shape[1])
    for label in range(probabilities.shape[1]):
        own = np.sort(probabilities[labels == label, label])
        below = int(np.floor(alpha * (len(own) + 1))) - 1
        if below >= 0:
            thresholds[label] = own[below]
    return thresholds


def in_sets(labels: Labels, by_fold: Sequence[Calibrated], alpha: float) -> NDArray[np.bool_]:
    """Find which classes are in each image's set, (N, C), by thresholds and calibration of the other folds."""
    inside = np.zeros(by_fold[0].probabilities.shape, dtype=bool)
    for test, probabilities in by_fold:
        inside[test] = probabilities[test] >= conformal_thresholds(labels[~test], probabilities[~test], alpha)
    return inside


def conformal_coverage(labels: Labels, by_fold: Sequence[Calibrated], alpha: float) -> tuple[Floats, float]:
    """Measure each class's coverage (C,) and the mean set size, see `in_sets`."""
    inside = in_sets(labels, by_fold, alpha)
    covered = inside[np.arange(len(labels)), labels]
    shares = [covered[labels == c].mean() if (labels == c).any() else np.nan for c in range(inside.shape[1])]
    return np.array(shares), float(inside.sum(axis=1).mean())


TARGETS = (0.10, 0.05, 0.02)
"""Error rates among the scans that keep their label."""


def risks(wrong: NDArray[np.bool_], confidence: Floats, weights: Floats) -> tuple[Floats, Floats, Floats]:
    """Return the error rate if only the most probable labels are kept, for each probability in falling order.

    For N scans, ``wrong`` or not, with a ``confidence`` and weights (R, N), these are the error rate (R, K; nan if no
    kept scan has a weight), the number of scans kept (R, K), and the K distinct probabilities.
    """
    order = np.argsort(-confidence, kind="stable")
    sure = confidence[order]
    ends = np.flatnonzero(np.append(sure[:-1] > sure[1:], True))  # equal probabilities are kept or left together
    kept = np.cumsum(weights[:, order], axis=1)[:, ends]
    errors = np.cumsum(np.where(wrong[order], weights[:, order], 0.0), axis=1)[:, ends]
    return np.divide(errors, kept, out=np.full(kept.shape, np.nan), where=kept > 0), kept, sure[ends]


def area_under_risk(wrong: NDArray[np.bool_], confidence: Floats) -> float:
    """Return the mean error rate over all numbers of scans kept; for a random order it is the error rate itself."""
    (risk,), (kept,), _ = risks(wrong, confidence, np.ones((1, len(wrong))))
    return float(np.average(risk, weights=np.diff(kept, prepend=0)))


def cuts(wrong: NDArray[np.bool_], confidence: Floats, groups: Labels) -> list[Record]:
    """Find the smallest abstention for each of the `TARGETS`, with 95 % intervals by resampling groups (N,)."""
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
"""Smallest ratio of the error rates of flagged and other scans that makes a flag a reason to doubt the label."""


def describe_flags(
    part: Predictions,
    alpha: float,
    distances: Mapping[str, Floats],
    marked: Mapping[str, NDArray[np.bool_]],
    decided: Decided | None = None,
) -> list[Record]:
    """Count errors by flag, ignoring flags on no scan or on all.

    The first flag marks prediction sets without exactly one class; ``distances`` (N,) mark values beyond the 95th
    percentile of the other folds' images; ``marked`` (N,) are given. Labels and sets are those ``decided``, by default
    the most probable class and sets of error rate ``alpha``, calibrated on the other folds.
    """
    if decided is None:
        by_fold = calibrate(part.labels, part.probabilities, part.parts)
        labels, sets = own_answers(by_fold).argmax(axis=1), in_sets(part.labels, by_fold, alpha)
    else:
        labels, sets = decided.labels, decided.sets
    flags = {
        "several classes left": sets.sum(axis=1) != 1,
        **{name: beyond(values, part.parts) for name, values in distances.items()},
        **marked,
    }
    found = compare_flagged(labels != part.labels, flags, part.groups)
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
    return [
        {
            "flag": name,
            "images": int(flag.sum()),
            "errors": wilson_by_group(wrong[flag], groups[flag]),
            "errors_of_others": wilson_by_group(wrong[~flag], groups[~flag]),
            "ratio": error_ratio(wrong, flag, groups),
        }
        for name, flag in flags.items()
        if flag.any() and not flag.all()
    ]


def beyond(values: Floats, folds: Labels, percentile: float = 95) -> NDArray[np.bool_]:
    """Mark the values (N,) beyond this percentile of the other folds' values."""
    marked = np.zeros(len(values), dtype=bool)
    for fold in np.unique(folds):
        test = folds == fold
        marked[test] = values[test] > np.percentile(values[~test], percentile)
    return marked


def error_ratio(wrong: NDArray[np.bool_], flag: NDArray[np.bool_], groups: Labels) -> Interval | None:
    """Return the ratio of the error rates of flagged and other images (N,), with a 95 % interval by resampling groups.

    Return None if a draw has no flagged image, or no error among the others.
    """
    weights = group_weights(groups)
    with np.errstate(divide="ignore", invalid="ignore"):
        errors, of_others = ((weights @ (wrong & kind)) / (weights @ kind) for kind in (flag, ~flag))
        ratios = errors / of_others
    return percentile_interval(ratios) if np.isfinite(ratios).all() else None
