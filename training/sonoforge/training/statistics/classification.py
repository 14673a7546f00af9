"""How well the classes are told apart: figures of labels (N,) in 0..C-1 and probabilities (N, C)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from sonoforge.training.statistics.intervals import Floats, Interval, Labels, wilson_by_group


def confusion_matrix(labels: Labels, predicted: Labels, classes: int) -> NDArray[np.int64]:
    """Count images by true class (row) and predicted class (column); shape (C, C)."""
    counts = np.bincount(labels * classes + predicted, minlength=classes * classes)
    return counts.reshape(classes, classes).astype(np.int64)


def sensitivity(labels: Labels, predicted: Labels, groups: Labels, label: int) -> Interval:
    """Share of the images of one class that are called so, with its 95 % interval by group."""
    own = labels == label
    return wilson_by_group(predicted[own] == label, groups[own])


def specificity(labels: Labels, predicted: Labels, groups: Labels, label: int) -> Interval:
    """Share of the images of the other classes that are not called so, with its 95 % interval by group."""
    others = labels != label
    return wilson_by_group(predicted[others] != label, groups[others])


def accuracy(labels: Labels, probabilities: Floats) -> float:
    """Share of images whose most probable class is the true one."""
    return float(np.mean(probabilities.argmax(axis=1) == labels))


def balanced_accuracy(labels: Labels, probabilities: Floats) -> float:
    """Mean of the sensitivities of the classes that occur."""
    correct = probabilities.argmax(axis=1) == labels
    return float(np.mean([correct[labels == label].mean() for label in np.unique(labels)]))


def macro_f1(labels: Labels, probabilities: Floats) -> float:
    """Unweighted mean over classes of 2TP / (2TP + FP + FN)."""
    confusion = confusion_matrix(labels, probabilities.argmax(axis=1).astype(np.int64), probabilities.shape[1])
    hits = np.diag(confusion).astype(np.float64)
    total = confusion.sum(axis=0) + confusion.sum(axis=1)
    return float(np.mean(np.divide(2 * hits, total, out=np.zeros_like(hits), where=total > 0)))


def macro_auc(labels: Labels, probabilities: Floats) -> float:
    """Unweighted mean over classes of the one-against-rest area under the ROC curve.

    By the Mann-Whitney statistic with mid-ranks for ties (Hanley & McNeil, Radiology 143, 1982).
    Classes that do not occur, or alone occur, are left out; nan where none is left.
    """
    areas = []
    ranks = stats.rankdata(probabilities, axis=0)  # at once: a call costs more than its sorting
    for label in range(probabilities.shape[1]):
        positive = labels == label
        count = int(positive.sum())
        if 0 < count < len(labels):
            wins = ranks[positive, label].sum() - count * (count + 1) / 2
            areas.append(wins / (count * (len(labels) - count)))
    return float(np.mean(areas)) if areas else float("nan")
