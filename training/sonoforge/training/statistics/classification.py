"""Compute accuracy, AUC, F1 and other figures of labels (N,) in 0..C-1 and probabilities (N, C); agreement of readers.

DeLong's test of two areas under the ROC curve assumes independent images; on images in groups it finds differences that
do not exist. Obuchowski's form, which sums over groups, is used instead, with one group left out at a time.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.inference.adaptation import design_effect
from sonoforge.training.statistics.intervals import (
    Floats,
    Labels,
    auc_interval,
    group_weights,
    percentile_interval,
    wilson_by_group,
)
from sonoforge.training.statistics.results import Interval

with suppress(ImportError):  # not in the base install, which validates without
    from scipy import stats


class DeLongTest(NamedTuple):
    """Standard error of the difference between two areas, and its two-sided p value."""

    standard_error: float
    p_value: float


def weighted_auc(positive: NDArray[np.bool_], scores: Floats, weights: Floats) -> Floats:
    """Return the area under the ROC curve of N images for weights (R, N), (R,).

    It uses the Mann-Whitney statistic, with ties as half (Hanley & McNeil, Radiology 143, 1982); ``scores`` (N,) are
    higher for positive images. It is nan if no image of the class, or none of the others, has a weight.
    """
    others = np.flatnonzero(~positive)[np.argsort(scores[~positive], kind="stable")]
    inside = weights[:, positive]
    beaten = np.zeros((len(weights), len(others) + 1))  # by an image that is above the first k of the others
    np.cumsum(weights[:, others], axis=1, out=beaten[:, 1:])
    below, not_above = (np.searchsorted(scores[others], scores[positive], side) for side in ("left", "right"))
    wins = np.einsum("rn,rn->r", inside, beaten[:, below])
    if (below < not_above).any():
        wins = (wins + np.einsum("rn,rn->r", inside, beaten[:, not_above])) / 2
    pairs = inside.sum(axis=1) * beaten[:, -1]
    return np.asarray(np.divide(wins, pairs, out=np.full(len(weights), np.nan), where=pairs > 0))


def delong_test(positive: NDArray[np.bool_], first: Floats, second: Floats, groups: Labels) -> DeLongTest:
    """Test whether two arms' scores (N,) tell one class from the rest equally well, on images in groups (N,).

    The test is DeLong, DeLong & Clarke-Pearson's (Biometrics 44, 1988) with one image in each group, else Obuchowski's
    (Biometrics 53, 1997), which allows for groups with images of both kinds. It is nan if the class, or the rest, has
    fewer than two groups.
    """
    once = np.ones((1, len(first)))
    (change,) = weighted_auc(positive, second, once) - weighted_auc(positive, first, once)
    parts = [np.stack(_placements(positive, scores)) for scores in (first, second)]
    error = float(np.sqrt((_group_errors(positive, parts[1] - parts[0], groups) ** 2).sum()))
    if error == 0:
        return DeLongTest(error, 1.0 if change == 0 else 0.0)
    return DeLongTest(error, float(2 * stats.norm.sf(abs(change) / error)))


def auc_by_group(kinds: Sequence[tuple[NDArray[np.bool_], Floats]], groups: Labels) -> Interval:
    """Return the area under the ROC curve with its 95 % interval by group; of several kinds, the mean area.

    It is `auc_interval` for the effective numbers of images (see `design_effect`), with the variance of
    `delong_test`.  It was chosen by ``training/studies/intervals``.

    Args:
        kinds: For each kind, which images (N,) it has, and their scores (N,), higher for the kind.  A kind with no
            image, or with all, is left out; without any left, the interval is (nan, 0, 1).
        groups: The group of each image, (N,).
    """
    areas, errors, counts, telling = [], [], [], []
    for positive, scores in kinds:
        if positive.any() and not positive.all():
            parts = np.stack(_placements(positive, scores))
            areas.append(parts[0, positive].mean())
            errors.append(_group_errors(positive, parts, groups))
            sides = [
                (own.sum(), *design_effect(part[own], groups[own]))
                for part, own in zip(parts, (positive, ~positive), strict=True)
            ]
            counts.append([images / effect for images, effect, _ in sides])
            telling.append(min(groups_told for _, _, groups_told in sides))
    if not areas:
        return Interval(value=float("nan"), low=0.0, high=1.0)
    area, observed = float(np.mean(areas)), float((np.mean(errors, axis=0) ** 2).sum())
    positives, negatives = np.transpose(counts)
    low, high = auc_interval(area, positives, negatives, observed, float(np.mean(telling)))
    return Interval(value=area, low=low, high=high)


def each_against_rest(labels: Labels, probabilities: Floats) -> list[tuple[NDArray[np.bool_], Floats]]:
    """Return what `auc_by_group` takes for the macro-AUC: images and scores (N,) of each class that occurs."""
    return [(labels == c, probabilities[:, c]) for c in np.unique(labels)]


def _placements(positive: NDArray[np.bool_], scores: Floats) -> tuple[Floats, Floats]:
    """Return the share of images of the other kind that each image (N,) beats, ties as half; 0 for the other kind.

    These are the structural components V10 of the class and V01 of the rest (DeLong 1988).
    """
    found = np.zeros(len(scores)), np.zeros(len(scores))
    if positive.any() and not positive.all():
        for part, own, sign in ((found[0], positive, 1), (found[1], ~positive, -1)):
            others = np.sort(sign * scores[~own])
            below, not_above = (np.searchsorted(others, sign * scores[own], side) for side in ("left", "right"))
            part[own] = (below + not_above) / (2 * len(others))
    return found


def _group_errors(positive: NDArray[np.bool_], parts: Floats, groups: Labels) -> Floats:
    """Return what each of G groups adds to the error of an area, or of a difference, (G,); nan if a kind has one group.

    ``parts`` (2, N) are its components, see `_placements`.  The squares sum to the area's variance, as by leaving out
    one group at a time (Efron & Stein, Annals of Statistics 9, 1981).
    """
    _, group = np.unique(groups, return_inverse=True)
    errors: Floats = np.zeros(int(group.max()) + 1)
    for kind, part in ((positive, parts[0]), (~positive, parts[1])):
        own = np.bincount(group, weights=kind.astype(np.float64))
        count = int((own > 0).sum())
        if count < 2:
            return np.full(len(errors), np.nan)
        sums = np.bincount(group, weights=part) - own * part[kind].mean()
        errors += sums / (kind.sum() - own) * np.sqrt((count - 1) / count)
    return errors


def confusion_matrix(labels: Labels, predicted: Labels, classes: int) -> NDArray[np.int64]:
    """Count images by true class (row) and predicted class (column); shape (C, C)."""
    counts = np.bincount(labels * classes + predicted, minlength=classes * classes)
    return counts.reshape(classes, classes).astype(np.int64)


def sensitivity(labels: Labels, predicted: Labels, groups: Labels, label: int) -> Interval:
    """Return the share of one class's images that are called so, with its 95 % interval by group."""
    own = labels == label
    return wilson_by_group(predicted[own] == label, groups[own])


def specificity(labels: Labels, predicted: Labels, groups: Labels, label: int) -> Interval:
    """Return the share of other classes' images that are not called so, with its 95 % interval by group."""
    others = labels != label
    return wilson_by_group(predicted[others] != label, groups[others])


def accuracy(labels: Labels, probabilities: Floats) -> float:
    """Return the share of images with the true class as the most probable one."""
    return float(np.mean(probabilities.argmax(axis=1) == labels))


def macro_auc(labels: Labels, probabilities: Floats) -> float:
    """Return the mean area under the ROC curve of each class against the rest, see `macro_aucs`."""
    return float(macro_aucs(labels, probabilities, np.ones((1, len(labels))))[0])


# ---- for the bootstrap: with weights (R, N) of the images, R figures


def accuracies(labels: Labels, probabilities: Floats, weights: Floats) -> Floats:
    """Return the share of images with the true class as the most probable one, (R,)."""
    return np.asarray(weights @ (probabilities.argmax(axis=1) == labels) / weights.sum(axis=1))


def balanced_accuracies(labels: Labels, probabilities: Floats, weights: Floats) -> Floats:
    """Return the mean sensitivity of the classes that occur, (R,)."""
    confusion = _weighted_confusion(labels, probabilities, weights)
    images = confusion.sum(axis=2)
    hits = np.diagonal(confusion, axis1=1, axis2=2)
    shares = np.divide(hits, images, out=np.zeros_like(images), where=images > 0)
    return np.asarray(shares.sum(axis=1) / (images > 0).sum(axis=1))


def macro_f1s(labels: Labels, probabilities: Floats, weights: Floats) -> Floats:
    """Return the unweighted mean over classes of 2TP / (2TP + FP + FN), (R,)."""
    confusion = _weighted_confusion(labels, probabilities, weights)
    hits = np.diagonal(confusion, axis1=1, axis2=2)
    total = confusion.sum(axis=1) + confusion.sum(axis=2)
    return np.asarray(np.divide(2 * hits, total, out=np.zeros_like(total), where=total > 0).mean(axis=1))


def macro_aucs(labels: Labels, probabilities: Floats, weights: Floats) -> Floats:
    """Return the mean over classes of the one-against-rest area under the ROC curve, (R,), see `mean_aucs`."""
    return mean_aucs(each_against_rest(labels, probabilities), weights)


def mean_aucs(kinds: Sequence[tuple[NDArray[np.bool_], Floats]], weights: Floats) -> Floats:
    """Return the mean `weighted_auc`, (R,), of the kinds that have some images but not all; nan without any."""
    areas = np.stack([weighted_auc(positive, scores, weights) for positive, scores in kinds])
    known = ~np.isnan(areas)
    count = known.sum(axis=0)
    total = np.where(known, areas, 0.0).sum(axis=0)
    return np.asarray(np.divide(total, count, out=np.full(len(weights), np.nan), where=count > 0))


def _weighted_confusion(labels: Labels, probabilities: Floats, weights: Floats) -> Floats:
    """Return the images' weight by true class (row) and predicted class (column); shape (R, C, C)."""
    classes = probabilities.shape[1]
    cell = np.eye(classes * classes)[labels * classes + probabilities.argmax(axis=1)]
    return np.asarray((weights @ cell).reshape(len(weights), classes, classes))


def kappas(ratings: Labels, weights: Floats) -> Floats:
    """Return Cohen's kappa of two readers' ratings (N, 2), Fleiss's of more (N, M), for weights (R, N), (R,).

    Educ. Psychol. Meas. 20, 1960, p. 40; Psychol. Bull. 76, 1971, equations 3 to 7: they differ in what chance is.
    It is nan if all readers gave all images the same category.
    """
    weights = weights / weights.sum(axis=1, keepdims=True)
    readers, given = ratings.shape[1], np.eye(int(ratings.max()) + 1)[ratings]  # (N, M, K): 1 for each category given
    counts = given.sum(axis=1)
    observed = weights @ (((counts**2).sum(axis=1) - readers) / (readers * (readers - 1)))
    if readers == 2:
        expected = np.stack([weights @ given[:, reader] for reader in range(2)]).prod(axis=0).sum(axis=1)
    else:
        expected = ((weights @ counts / readers) ** 2).sum(axis=1)
    kappa: Floats = np.full(len(observed), np.nan)
    np.divide(observed - expected, 1 - expected, out=kappa, where=1 - expected > 1e-12)
    return kappa


def agreement(ratings: Labels) -> Interval:
    """Return the `kappas` of readers' ratings (N, M), with the 95 % interval.

    Only images are resampled, so the interval holds for these readers.
    """
    return percentile_interval(kappas(ratings, group_weights(np.arange(len(ratings)))))
