"""Calibration (whether a probability of 0.8 is right eight times in ten), and split conformal prediction sets."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from sonoforge.training.statistics.intervals import Floats, Labels, wilson_by_group
from sonoforge.training.statistics.results import Interval

BINS = 15
"""Equal-width bins of the expected calibration error."""


def brier_score(labels: Labels, probabilities: Floats) -> float:
    """Mean squared distance of the probability vector from the one-hot truth, 0..2 (Brier 1950)."""
    truth = np.eye(probabilities.shape[1])[labels]
    return float(np.mean(np.sum((probabilities - truth) ** 2, axis=1)))


def expected_calibration_error(labels: Labels, probabilities: Floats) -> float:
    """ECE of the top label in `BINS` equal bins (Guo et al., ICML 2017, eq. 3), 0..1."""
    return float(expected_calibration_errors(labels, probabilities, np.ones((1, len(labels))))[0])


def expected_calibration_errors(labels: Labels, probabilities: Floats, weights: Floats) -> Floats:
    """Return the same for R weightings (R, N) of the images, (R,), for the bootstrap."""
    confidence = probabilities.max(axis=1)
    surplus = confidence - (probabilities.argmax(axis=1) == labels)
    bins = np.eye(BINS)[np.minimum((confidence * BINS).astype(int), BINS - 1)]
    errors: Floats = np.abs(weights @ (bins * surplus[:, None])).sum(axis=1) / weights.sum(axis=1)
    return errors


class Bin(NamedTuple):
    """Images whose highest probability lies in one interval: mean probability, accuracy, number."""

    confidence: float
    accuracy: Interval
    images: int


def reliability(labels: Labels, probabilities: Floats, groups: Labels) -> list[Bin]:
    """Group images by their highest probability into `BINS` equal intervals; empty ones are left out."""
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
    scaled: Floats = special.softmax(np.log(np.clip(probabilities, 1e-12, None)) / temperature, axis=1)
    return scaled


def fit_temperature(labels: Labels, probabilities: Floats) -> float:
    """Temperature that minimises the negative log-likelihood (Guo et al. 2017, section 4.2), 0.05..20."""
    rows = np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        scaled = apply_temperature(probabilities, float(np.exp(log_temperature)))
        return float(-np.log(np.clip(scaled[rows, labels], 1e-12, None)).mean())

    found = optimize.minimize_scalar(loss, bounds=(np.log(0.05), np.log(20.0)), method="bounded")
    return float(np.exp(found.x))


class Calibrated(NamedTuple):
    """All N answers, calibrated without the labels of one fold, so that its thresholds need not read them either."""

    test: NDArray[np.bool_]  # (N,) the images of the fold
    probabilities: Floats  # (N, C)


def calibrate(labels: Labels, probabilities: Floats, fold_of: Labels) -> list[Calibrated]:
    """Scale all answers (N, C), once for each fold, by the temperature of the other folds' answers.

    Answers of a single fold stay as they are.
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
    """Return whether each class is in each image's set, (N, C), by thresholds and calibration of the other folds."""
    inside = np.zeros(by_fold[0].probabilities.shape, dtype=bool)
    for test, probabilities in by_fold:
        inside[test] = probabilities[test] >= conformal_thresholds(labels[~test], probabilities[~test], alpha)
    return inside


def conformal_coverage(labels: Labels, by_fold: Sequence[Calibrated], alpha: float) -> tuple[Floats, float]:
    """Measure the coverage of each class (C,) and the mean set size, see `in_sets`."""
    inside = in_sets(labels, by_fold, alpha)
    covered = inside[np.arange(len(labels)), labels]
    shares = [covered[labels == c].mean() if (labels == c).any() else np.nan for c in range(inside.shape[1])]
    return np.array(shares), float(inside.sum(axis=1).mean())
