"""How well the classes are told apart: figures of labels (N,) in 0..C-1 and probabilities (N, C)."""

import numpy as np
from numpy.typing import NDArray

from sonoforge.training.statistics.auc import weighted_auc
from sonoforge.training.statistics.intervals import Floats, Labels, wilson_by_group
from sonoforge.training.statistics.results import Interval


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


def macro_auc(labels: Labels, probabilities: Floats) -> float:
    """Mean area under the ROC curve of each class against the rest, see `macro_aucs`."""
    return float(macro_aucs(labels, probabilities, np.ones((1, len(labels))))[0])


# ---- for the bootstrap: each image counts as often as its weight says; weights (R, N) give R figures


def accuracies(labels: Labels, probabilities: Floats, weights: Floats) -> Floats:
    """Share of images whose most probable class is the true one, (R,)."""
    share: Floats = weights @ (probabilities.argmax(axis=1) == labels) / weights.sum(axis=1)
    return share


def balanced_accuracies(labels: Labels, probabilities: Floats, weights: Floats) -> Floats:
    """Mean of the sensitivities of the classes that occur, (R,)."""
    confusion = _weighted_confusion(labels, probabilities, weights)
    images = confusion.sum(axis=2)
    hits = np.diagonal(confusion, axis1=1, axis2=2)
    shares = np.divide(hits, images, out=np.zeros_like(images), where=images > 0)
    mean: Floats = shares.sum(axis=1) / (images > 0).sum(axis=1)
    return mean


def macro_f1s(labels: Labels, probabilities: Floats, weights: Floats) -> Floats:
    """Unweighted mean over classes of 2TP / (2TP + FP + FN), (R,)."""
    confusion = _weighted_confusion(labels, probabilities, weights)
    hits = np.diagonal(confusion, axis1=1, axis2=2)
    total = confusion.sum(axis=1) + confusion.sum(axis=2)
    mean: Floats = np.divide(2 * hits, total, out=np.zeros_like(total), where=total > 0).mean(axis=1)
    return mean


def macro_aucs(labels: Labels, probabilities: Floats, weights: Floats) -> Floats:
    """Unweighted mean over classes of the one-against-rest area under the ROC curve, (R,), see `weighted_auc`.

    Classes that do not occur, or alone occur, are left out; nan where none is left.
    """
    areas = np.stack([weighted_auc(labels == c, probabilities[:, c], weights) for c in range(probabilities.shape[1])])
    known = ~np.isnan(areas)
    count = known.sum(axis=0)
    total = np.where(known, areas, 0.0).sum(axis=0)
    mean: Floats = np.divide(total, count, out=np.full(len(weights), np.nan), where=count > 0)
    return mean


def _weighted_confusion(labels: Labels, probabilities: Floats, weights: Floats) -> Floats:
    """Weight of the images by true class (row) and predicted class (column); shape (R, C, C)."""
    classes = probabilities.shape[1]
    cell = np.eye(classes * classes)[labels * classes + probabilities.argmax(axis=1)]
    confusion: Floats = (weights @ cell).reshape(len(weights), classes, classes)
    return confusion
