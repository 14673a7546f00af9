"""Every figure of the tables, as pure functions of labels, probabilities and groups.

Shapes: ``labels`` (N,) integers in 0..C-1, ``probabilities`` (N, C) rows summing to 1, ``groups`` (N,)
integers naming images that are not independent of each other (near-duplicates, one patient).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

Labels = NDArray[np.int64]
Floats = NDArray[np.float64]


class Interval(NamedTuple):
    """An estimate with the ends of its confidence interval."""

    value: float
    low: float
    high: float


def wilson_interval(successes: int, trials: int, confidence: float = 0.95) -> Interval:
    """Wilson's score interval of a proportion (Wilson, JASA 22, 1927, p. 209).

    Args:
        successes: Number of successes, 0..trials.
        trials: Number of trials; 0 gives (nan, 0, 1).
        confidence: Two-sided confidence, 0..1.
    """
    if trials == 0:
        return Interval(float("nan"), 0.0, 1.0)
    z = float(stats.norm.ppf(0.5 + confidence / 2))
    share = successes / trials
    centre = share + z * z / (2 * trials)
    half = z * np.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    return Interval(share, max(0.0, float((centre - half) / scale)), min(1.0, float((centre + half) / scale)))


def confusion_matrix(labels: Labels, predicted: Labels, classes: int) -> NDArray[np.int64]:
    """Count images by true class (row) and predicted class (column); shape (C, C)."""
    counts = np.bincount(labels * classes + predicted, minlength=classes * classes)
    return counts.reshape(classes, classes).astype(np.int64)


def sensitivity(confusion: NDArray[np.int64], label: int) -> Interval:
    """Share of the images of one class that are called so, with its Wilson 95 % interval."""
    return wilson_interval(int(confusion[label, label]), int(confusion[label].sum()))


def specificity(confusion: NDArray[np.int64], label: int) -> Interval:
    """Share of the images of the other classes that are not called so, with its Wilson 95 % interval."""
    negatives = np.delete(confusion, label, axis=0)
    return wilson_interval(int(np.delete(negatives, label, axis=1).sum()), int(negatives.sum()))


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
    for label in range(probabilities.shape[1]):
        positive = labels == label
        count = int(positive.sum())
        if 0 < count < len(labels):
            ranks = stats.rankdata(probabilities[:, label])
            wins = ranks[positive].sum() - count * (count + 1) / 2
            areas.append(wins / (count * (len(labels) - count)))
    return float(np.mean(areas)) if areas else float("nan")


def brier_score(labels: Labels, probabilities: Floats) -> float:
    """Mean squared distance of the probability vector from the one-hot truth, 0..2 (Brier 1950)."""
    truth = np.eye(probabilities.shape[1])[labels]
    return float(np.mean(np.sum((probabilities - truth) ** 2, axis=1)))


def expected_calibration_error(labels: Labels, probabilities: Floats, bins: int = 15) -> float:
    """ECE of the top label with equal-width bins (Guo et al., ICML 2017, eq. 3), 0..1."""
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
    gap = 0.0
    for index in np.unique(bin_of):
        inside = bin_of == index
        gap += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
    return float(gap)


def apply_temperature(probabilities: Floats, temperature: float) -> Floats:
    """Return softmax(log(probabilities) / temperature); shape (N, C)."""
    logits = np.log(np.clip(probabilities, 1e-12, None)) / temperature
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    scaled: Floats = powers / powers.sum(axis=1, keepdims=True)
    return scaled


def fit_temperature(labels: Labels, probabilities: Floats) -> float:
    """Temperature that minimises the negative log-likelihood (Guo et al. 2017, section 4.2), 0.05..20."""
    rows = np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        scaled = apply_temperature(probabilities, float(np.exp(log_temperature)))
        return float(-np.log(np.clip(scaled[rows, labels], 1e-12, None)).mean())

    found = optimize.minimize_scalar(loss, bounds=(np.log(0.05), np.log(20.0)), method="bounded")
    return float(np.exp(found.x))


def cross_fitted_temperature(labels: Labels, probabilities: Floats, fold_of: Labels) -> Floats:
    """Scale each fold by the temperature fitted on the out-of-fold predictions of all other folds.

    So no image's own label sharpens or softens its probability.  Returns (N, C).
    """
    scaled = probabilities.copy()
    for fold in np.unique(fold_of):
        inside = fold_of == fold
        if inside.all():
            return scaled
        temperature = fit_temperature(labels[~inside], probabilities[~inside])
        scaled[inside] = apply_temperature(probabilities[inside], temperature)
    return scaled


def conformal_thresholds(labels: Labels, probabilities: Floats, alpha: float = 0.1) -> Floats:
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


def conformal_coverage(
    labels: Labels, probabilities: Floats, fold_of: Labels, alpha: float = 0.1
) -> tuple[Floats, float]:
    """Measured coverage of each class (C,) and mean set size, thresholds fitted on the other folds."""
    inside_set = np.zeros(probabilities.shape, dtype=bool)
    for fold in np.unique(fold_of):
        test = fold_of == fold
        inside_set[test] = probabilities[test] >= conformal_thresholds(labels[~test], probabilities[~test], alpha)
    covered = inside_set[np.arange(len(labels)), labels]
    shares = [covered[labels == c].mean() if (labels == c).any() else np.nan for c in range(probabilities.shape[1])]
    return np.array(shares), float(inside_set.sum(axis=1).mean())


def _group_resamples(groups: Labels, resamples: int, seed: int) -> list[Labels]:
    """Draw whole groups with replacement; each entry holds the image indices of one resample."""
    generator = np.random.default_rng(seed)
    _, inverse = np.unique(groups, return_inverse=True)
    order = np.argsort(inverse, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(inverse))[:-1])
    draws = generator.integers(0, len(members), (resamples, len(members)))
    return [np.concatenate([members[i] for i in draw]).astype(np.int64) for draw in draws]


def group_bootstrap(
    statistic: Callable[[Labels, Floats], float],
    labels: Labels,
    probabilities: Floats,
    groups: Labels,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """Percentile 95 % interval by resampling groups, not images (Field & Welsh, JRSS B 69, 2007)."""
    drawn = [statistic(labels[i], probabilities[i]) for i in _group_resamples(groups, resamples, seed)]
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return Interval(statistic(labels, probabilities), float(low), float(high))


def paired_bootstrap(
    statistic: Callable[[Labels, Floats], float],
    labels: Labels,
    first: Floats,
    second: Floats,
    groups: Labels,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """Difference ``second - first`` of two arms on the same images, both resampled by the same groups."""
    drawn = [
        statistic(labels[i], second[i]) - statistic(labels[i], first[i])
        for i in _group_resamples(groups, resamples, seed)
    ]
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return Interval(statistic(labels, second) - statistic(labels, first), float(low), float(high))


class McNemar(NamedTuple):
    """Images that only the first arm, or only the second, got right; the exact two-sided p value."""

    first_only: int
    second_only: int
    p_value: float


def mcnemar_exact(first_correct: NDArray[np.bool_], second_correct: NDArray[np.bool_]) -> McNemar:
    """McNemar's test on paired predictions with the exact binomial law (McNemar 1947; Fagerland 2013)."""
    first_only = int(np.sum(first_correct & ~second_correct))
    second_only = int(np.sum(~first_correct & second_correct))
    discordant = first_only + second_only
    p_value = float(stats.binomtest(first_only, discordant, 0.5).pvalue) if discordant else 1.0
    return McNemar(first_only, second_only, p_value)


def minimum_detectable_difference(
    images: int, discordant_share: float, power: float = 0.8, level: float = 0.05
) -> float:
    """Smallest accuracy difference that McNemar's test would find with the given power, 0..1.

    Solves Connor's sample-size formula (Biometrics 43, 1987) for the difference:
    ``n d^2 = (z_level sqrt(q) + z_power sqrt(q - d^2))^2`` with q the share of discordant pairs.
    """
    if images == 0 or discordant_share <= 0:
        return float("nan")
    z_level = float(stats.norm.ppf(1 - level / 2))
    z_power = float(stats.norm.ppf(power))

    def excess(difference: float) -> float:
        spread = z_level * np.sqrt(discordant_share)
        spread += z_power * np.sqrt(max(discordant_share - difference**2, 0.0))
        return float(np.sqrt(images) * difference - spread)

    ceiling = float(np.sqrt(discordant_share))
    if excess(ceiling) < 0:
        return float("nan")
    return float(optimize.brentq(excess, 0.0, ceiling))
