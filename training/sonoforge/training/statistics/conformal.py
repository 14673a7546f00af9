"""Prediction sets that hold the true class with a promised probability: split conformal prediction."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sonoforge.training.statistics.intervals import Floats, Labels


def conformal_thresholds(labels: Labels, probabilities: Floats, alpha: float) -> Floats:
    """Smallest probability at which each class enters the prediction set, shape (C,).

    Class-conditional split conformal prediction (Vovk 2013; Sadinle et al., JASA 2019): of class c's own
    images at least 1 - alpha have p_c at or above the threshold, with the finite-sample correction; 0 where the
    class has too few images for the level asked, so that it is then always in the set.
    """
    thresholds = np.zeros(probabilities.shape[1])
    for label in range(probabilities.shape[1]):
        own = np.sort(probabilities[labels == label, label])
        below = int(np.floor(alpha * (len(own) + 1))) - 1
        if below >= 0:
            thresholds[label] = own[below]
    return thresholds


def in_sets(labels: Labels, probabilities: Floats, fold_of: Labels, alpha: float) -> NDArray[np.bool_]:
    """Whether each class is in the set of each image (N, C), thresholds fitted on the other folds."""
    inside = np.zeros(probabilities.shape, dtype=bool)
    for fold in np.unique(fold_of):
        test = fold_of == fold
        inside[test] = probabilities[test] >= conformal_thresholds(labels[~test], probabilities[~test], alpha)
    return inside


def conformal_coverage(labels: Labels, probabilities: Floats, fold_of: Labels, alpha: float) -> tuple[Floats, float]:
    """Measured coverage of each class (C,) and mean set size, thresholds fitted on the other folds."""
    inside = in_sets(labels, probabilities, fold_of, alpha)
    covered = inside[np.arange(len(labels)), labels]
    shares = [covered[labels == c].mean() if (labels == c).any() else np.nan for c in range(probabilities.shape[1])]
    return np.array(shares), float(inside.sum(axis=1).mean())
