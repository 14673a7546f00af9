"""Coverage of the intervals by group of AUC, sensitivity at a fixed specificity, net benefit, and of their differences.

    python training/studies/intervals/one_against_rest.py [DATASETS]

Scores are simulated in BUSI's groups; their true figures follow from the normal law.  Prints the table of
``training/docs/evidence.md``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[3] / "tests" / "support"))

from scipy import stats

from clustered import draw_scores, posterior, true_net_benefit, true_sensitivity
from sonoforge.training.statistics.classification import auc_by_group, delong_test, weighted_auc
from sonoforge.training.statistics.intervals import paired_bootstrap
from sonoforge.training.statistics.one_against_rest import (
    THRESHOLDS,
    decision_curve,
    operating_points,
    sensitivity_differences,
)
from sonoforge.training.statistics.results import Interval

SEPARATIONS = (2.0, 2.5)
"""Difference between the mean scores of the class and the rest, in standard deviations, for each of two arms."""
AT = 10
"""Index of the threshold whose net benefit is looked at: 12 %."""
KINDS = ("AUC", "sensitivity at 90 %", "sensitivity at 95 %", "net benefit", "AUC difference", "p below 0.05 (no "
         "difference)", "sensitivity difference")  # fmt: skip


def true_auc(separation: float) -> float:
    """Chance that a score of the class is above one of the rest."""
    return float(stats.norm.cdf(separation / np.sqrt(2)))


def coverage(datasets: int, correlation: float, rng: np.random.Generator) -> dict[str, list[bool]]:
    """Whether the interval of each kind of figure held the true one, by draw; for p values, whether they fell below."""
    found: dict[str, list[bool]] = {kind: [] for kind in KINDS}

    def note(kind: str, interval: Interval, truth: float) -> None:
        found[kind].append(bool(interval["low"] <= truth <= interval["high"]))

    first, second = SEPARATIONS
    for _ in range(datasets):
        drawn = draw_scores(SEPARATIONS, correlation, rng)
        positive, scores, groups, folds = drawn.positive, drawn.arms, drawn.groups, drawn.folds
        note("AUC", auc_by_group([(positive, scores[0])], groups), true_auc(first))
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


def main() -> None:
    """Print one line for each kind of figure and correlation."""
    datasets = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    for correlation in (0.0, 0.6):
        covered = coverage(datasets, correlation, np.random.default_rng(0))
        for kind in KINDS:
            print(f"| {kind} | {correlation} | {100 * np.mean(covered[kind]):.1f} |", flush=True)


if __name__ == "__main__":
    main()
