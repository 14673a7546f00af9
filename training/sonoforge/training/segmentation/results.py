"""The tables of a segmentation experiment, computed from the scores of its cases alone.

A figure is a mean over cases, the means of the seeds first; its interval resamples patients.  The Dice of a row is the
mean of those of its structures.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from sonoforge.training.segmentation.judging import CaseScore
from sonoforge.training.statistics.intervals import Interval, group_weights, percentile_interval

Floats = NDArray[np.float64]
SCORES = ("dice", "iou", "hd95")
FEWEST_RANKED = 4  # generators whose order is compared; fewer say nothing
REAL_ARM, AUGMENTED_ARM, GENERATED_ARM = "real", "augmented", "generated"
_PERMUTATIONS = 10_000  # at most: up to 7 generators the p value is exact


class Estimate(TypedDict):
    """A figure with the ends of its 95 % interval."""

    value: float
    low: float
    high: float


class StructureResult(TypedDict):
    """One structure of one row: means over cases; ``missed`` and ``invented`` count cases, means over the seeds."""

    dice: Estimate
    iou: Estimate
    hd95: Estimate
    unit: str  # of hd95
    cases: int  # that have the structure
    missed: float  # of these, cases where no slice has it both in the reference and in the prediction
    without: int  # cases that do not have it
    invented: float  # of these, cases in which it was predicted


class ArmResult(TypedDict):
    """One arm with one generator: a row of the table."""

    arm: str
    recipe: str  # empty for arms without generated pairs
    dice: Estimate  # mean over the structures
    structures: dict[str, StructureResult]
    against_real: Estimate | None  # difference of ``dice``, paired by patient; None: there is no such arm
    against_augmented: Estimate | None


class RankCorrelation(TypedDict):
    """Whether a metric orders the generators as the task does."""

    metric: str
    generators: int
    rho: float  # Spearman's, of the metric and the Dice of ``generated``; -1: the lowest metric is the most useful
    p_value: float  # two-sided, by permutation
    exact: bool  # whether all permutations were tried


class _Table(NamedTuple):
    """The scores of one row, each (cases, structures), in an order that all rows of a set share."""

    scores: dict[str, Floats]
    invented: Floats


def compute_rows(scores: Sequence[CaseScore]) -> list[ArmResult]:
    """Compute the table of one set.

    Args:
        scores: Of all U-Nets of the set.
    """
    structures = list(dict.fromkeys(score.structure for score in scores))
    units = {score.structure: score.unit for score in scores}
    keys = list(dict.fromkeys((score.arm, score.recipe) for score in scores))
    cases = sorted({(score.fold, score.patient, score.case) for score in scores})
    tables = {
        key: _table([score for score in scores if (score.arm, score.recipe) == key], cases, structures) for key in keys
    }
    weights = group_weights(np.array([patient for _, patient, _ in cases], np.int64))
    rows = []
    for key, table in tables.items():
        others = {name: tables.get((name, "")) for name in (REAL_ARM, AUGMENTED_ARM)}
        rows.append(
            ArmResult(
                arm=key[0],
                recipe=key[1],
                dice=_estimate(table, "dice", weights),
                structures={
                    name: _structure(table, place, weights, units[name]) for place, name in enumerate(structures)
                },
                against_real=_difference(table, others[REAL_ARM], weights, key[0] == REAL_ARM),
                against_augmented=_difference(table, others[AUGMENTED_ARM], weights, key[0] == AUGMENTED_ARM),
            )
        )
    return rows


def _table(scores: Iterable[CaseScore], cases: Sequence[tuple[int, int, str]], structures: Sequence[str]) -> _Table:
    """Average over the seeds, where a score is defined in all of them."""
    place = {case: row for row, case in enumerate(cases)}
    totals = {name: np.zeros((len(cases), len(structures))) for name in (*SCORES, "invented")}
    seen = np.zeros((len(cases), len(structures)))
    for score in scores:
        at = place[score.fold, score.patient, score.case], structures.index(score.structure)
        seen[at] += 1
        for name, total in totals.items():
            total[at] += getattr(score, name)
    means = {name: total / np.where(seen, seen, np.nan) for name, total in totals.items()}
    invented = means.pop("invented")
    return _Table(means, invented)


def _means(values: Floats, weights: Floats) -> Floats:
    """Weighted means (R, K) over the cases of values (N, K) that are defined, for weights (R, N)."""
    known = ~np.isnan(values)
    total = weights @ known
    return np.where(total > 0, weights @ np.where(known, values, 0) / np.where(total > 0, total, 1), np.nan)


def _mean_dice(table: _Table, weights: Floats) -> Floats:
    """Return the mean over the structures of their mean Dice, (R,)."""
    found: Floats = _means(table.scores["dice"], weights).mean(1)
    return found


def _estimate(table: _Table, score: str, weights: Floats, place: int | None = None) -> Estimate:
    ones = np.ones((1, len(table.invented)))
    if place is None:
        return _as_estimate(_mean_dice(table, ones)[0], _mean_dice(table, weights))
    values = table.scores[score][:, [place]]
    return _as_estimate(_means(values, ones)[0, 0], _means(values, weights)[:, 0])


def _as_estimate(value: float, drawn: Floats) -> Estimate:
    interval: Interval = percentile_interval(float(value), drawn)
    return Estimate(value=interval.value, low=interval.low, high=interval.high)


def _difference(table: _Table, other: _Table | None, weights: Floats, same: bool) -> Estimate | None:
    if other is None or same:
        return None
    ones = np.ones((1, len(table.invented)))
    value = _mean_dice(table, ones)[0] - _mean_dice(other, ones)[0]
    return _as_estimate(value, _mean_dice(table, weights) - _mean_dice(other, weights))


def _structure(table: _Table, place: int, weights: Floats, unit: str) -> StructureResult:
    dice, hd95, invented = (values[:, place] for values in (table.scores["dice"], table.scores["hd95"], table.invented))
    there = ~np.isnan(dice)
    return StructureResult(
        dice=_estimate(table, "dice", weights, place),
        iou=_estimate(table, "iou", weights, place),
        hd95=_estimate(table, "hd95", weights, place),
        unit=unit,
        cases=int(there.sum()),
        missed=float((there & np.isnan(hd95)).sum()),
        without=int((~there).sum()),
        invented=float(invented[~there].sum()),
    )


def correlate(metric: str, values: Sequence[float], dice: Sequence[float]) -> RankCorrelation | None:
    """Compare the order of generators by a metric with that by Dice; None for fewer than four of them, or all alike.

    Args:
        metric: Its name.
        values: (G,) the metric of each generator.
        dice: (G,) the Dice of the U-Net trained on its pairs alone.
    """
    if len(values) < FEWEST_RANKED or len(set(values)) == 1 or len(set(dice)) == 1:
        return None
    found = stats.permutation_test(
        (np.asarray(values),),
        lambda order: stats.spearmanr(order, dice).statistic,
        permutation_type="pairings",
        n_resamples=_PERMUTATIONS,
        rng=np.random.default_rng(0),
    )
    exact = len(found.null_distribution) < _PERMUTATIONS
    return RankCorrelation(
        metric=metric, generators=len(values), rho=float(found.statistic), p_value=float(found.pvalue), exact=exact
    )
