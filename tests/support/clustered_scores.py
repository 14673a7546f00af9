"""Invented scores of two classifiers on images in groups, whose true figures follow from the normal law."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from clustered import BUSI
from sonoforge.training.statistics.classification import delong_test, weighted_auc
from sonoforge.training.statistics.intervals import group_bootstrap, paired_bootstrap
from sonoforge.training.statistics.one_against_rest import (
    THRESHOLDS,
    decision_curve,
    operating_points,
    sensitivity_differences,
)
from sonoforge.training.statistics.results import Interval

SEPARATIONS = (2.0, 2.5)
"""Distance of the class's mean score from that of the rest, in standard deviations, for each of two arms."""
PREVALENCE = 0.27
AT = 10
"""Index of the threshold whose net benefit is looked at: 12 %."""
KINDS = ("AUC", "sensitivity at 90 %", "sensitivity at 95 %", "net benefit", "AUC difference", "p below 0.05 (no "
         "difference)", "sensitivity difference")  # fmt: skip


class Scores(NamedTuple):
    """What one draw gives, N images."""

    positive: NDArray[np.bool_]
    arms: tuple[NDArray[np.float64], NDArray[np.float64]]
    groups: NDArray[np.int64]
    folds: NDArray[np.int64]


def draw_scores(
    separations: tuple[float, float], correlation: float, rng: np.random.Generator, sizes: NDArray[np.int64] = BUSI
) -> Scores:
    """Draw as many groups as there are, each of one kind; scores of one group, and of both arms, are correlated."""
    drawn = rng.choice(sizes, len(sizes))
    groups = np.repeat(np.arange(len(drawn)), drawn)
    positive = (rng.random(len(drawn)) < PREVALENCE)[groups]
    folds = rng.integers(0, 10, len(drawn))[groups]

    def noise() -> NDArray[np.float64]:
        common, own = rng.normal(size=len(drawn))[groups], rng.normal(size=len(groups))
        return np.sqrt(correlation) * common + np.sqrt(1 - correlation) * own

    shared = noise()
    first, second = (np.sqrt(0.7) * shared + np.sqrt(0.3) * noise() + d * positive for d in separations)
    return Scores(positive, (first, second), groups, folds)


def true_auc(separation: float) -> float:
    """Chance that a score of the class is above one of the rest."""
    return float(stats.norm.cdf(separation / np.sqrt(2)))


def true_sensitivity(separation: float, specificity: float) -> float:
    """Share of the class above the rest's quantile."""
    return float(stats.norm.cdf(separation - stats.norm.ppf(specificity)))


def posterior(scores: NDArray[np.float64], separation: float) -> NDArray[np.float64]:
    """Probability of the class given a score, by Bayes' rule."""
    odds = PREVALENCE / (1 - PREVALENCE) * np.exp(separation * scores - separation**2 / 2)
    probability: NDArray[np.float64] = odds / (1 + odds)
    return probability


def true_net_benefit(separation: float, threshold: float) -> float:
    """Net benefit of acting where the posterior probability reaches a threshold."""
    odds = threshold / (1 - threshold)
    cut = (np.log(odds * (1 - PREVALENCE) / PREVALENCE) + separation**2 / 2) / separation
    found, needless = stats.norm.sf(cut - separation), stats.norm.sf(cut)
    return float(PREVALENCE * found - (1 - PREVALENCE) * needless * odds)


def coverage(datasets: int, correlation: float, rng: np.random.Generator) -> dict[str, list[bool]]:
    """Whether the interval of each kind of figure held the true one, by draw; for p values, whether they fell below."""
    found: dict[str, list[bool]] = {kind: [] for kind in KINDS}

    def note(kind: str, interval: Interval, truth: float) -> None:
        found[kind].append(bool(interval["low"] <= truth <= interval["high"]))

    first, second = SEPARATIONS
    for _ in range(datasets):
        drawn = draw_scores(SEPARATIONS, correlation, rng)
        positive, scores, groups, folds = drawn.positive, drawn.arms, drawn.groups, drawn.folds
        note("AUC", group_bootstrap(weighted_auc, positive, scores[0], groups), true_auc(first))
        for aim, point in zip((0.90, 0.95), operating_points(positive, scores[0], folds, groups), strict=True):
            note(f"sensitivity at {100 * aim:.0f} %", point["sensitivity"], true_sensitivity(first, aim))
        curve = decision_curve(positive, posterior(scores[0], first), groups)
        benefit = Interval(value=curve["net_benefit"][AT], low=curve["low"][AT], high=curve["high"][AT])
        note("net benefit", benefit, true_net_benefit(first, THRESHOLDS[AT]))
        change = paired_bootstrap(weighted_auc, positive, scores[0], scores[1], groups)
        note("AUC difference", change, true_auc(second) - true_auc(first))
        change = sensitivity_differences(positive, scores, (folds, folds), groups)[0]
        truth = true_sensitivity(second, 0.90) - true_sensitivity(first, 0.90)
        note("sensitivity difference", change, truth)
        same = draw_scores((first, first), correlation, rng)
        found["p below 0.05 (no difference)"].append(
            delong_test(same.positive, same.arms[0], same.arms[1], same.groups).p_value < 0.05
        )
    return found
