"""The figures of a segmentation experiment, computed from the scores of its cases and what its generators took.

A figure is a mean over cases, the means of the seeds first; its interval resamples patients.  The Dice of a row is the
mean of those of its structures.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from scipy import stats

from sonoforge.training.segmentation.generating import METRICS, GeneratorFigures
from sonoforge.training.segmentation.results import (
    AUGMENTED_ARM,
    GENERATED_ARM,
    REAL_ARM,
    ArmResult,
    Claim,
    GeneratorResult,
    MetricMean,
    RankCorrelation,
    SetResults,
    StructureResult,
)
from sonoforge.training.segmentation.tables import SCORES, CaseScore
from sonoforge.training.segmentation.verdict import conclude
from sonoforge.training.statistics.intervals import Floats, group_weights, percentile_interval
from sonoforge.training.statistics.published import published_for
from sonoforge.training.statistics.results import Interval

FEWEST_RANKED = 4  # generators whose order is compared; fewer say nothing
_PERMUTATIONS = 10_000  # at most: up to 7 generators the p value is exact


Table = Mapping[str, Floats]
"""The `SCORES` of one row and ``invented``, (cases, structures) each, in an order that all rows of a set share."""


def compute_rows(scores: Sequence[CaseScore]) -> list[ArmResult]:
    """Compute the table of one set from the scores of all its U-Nets."""
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


def _table(scores: Iterable[CaseScore], cases: Sequence[tuple[int, int, str]], structures: Sequence[str]) -> Table:
    """Average over the seeds, where a score is defined in all of them."""
    place = {case: row for row, case in enumerate(cases)}
    totals = {name: np.zeros((len(cases), len(structures))) for name in (*SCORES, "invented")}
    seen = np.zeros((len(cases), len(structures)))
    for score in scores:
        at = place[score.fold, score.patient, score.case], structures.index(score.structure)
        seen[at] += 1
        for name, total in totals.items():
            total[at] += getattr(score, name)
    return {name: total / np.where(seen, seen, np.nan) for name, total in totals.items()}


def _means(values: Floats, weights: Floats) -> Floats:
    """Weighted means (R, K) over the cases of values (N, K) that are defined, for weights (R, N)."""
    known = ~np.isnan(values)
    total = weights @ known
    return np.where(total > 0, weights @ np.where(known, values, 0) / np.where(total > 0, total, 1), np.nan)


def _mean_dice(table: Table, weights: Floats) -> Floats:
    """Return the mean over the structures of their mean Dice, (R,)."""
    found: Floats = _means(table["dice"], weights).mean(1)
    return found


def _estimate(table: Table, score: str, weights: Floats, place: int | None = None) -> Interval:
    def means(own: Floats) -> Floats:
        return _mean_dice(table, own) if place is None else _means(table[score][:, [place]], own)[:, 0]

    return percentile_interval(np.concatenate([means(np.ones((1, weights.shape[1]))), means(weights[1:])]))


def _difference(table: Table, other: Table | None, weights: Floats, same: bool) -> Interval | None:
    if other is None or same:
        return None
    changes = [_mean_dice(table, own) - _mean_dice(other, own) for own in (np.ones((1, weights.shape[1])), weights[1:])]
    return percentile_interval(np.concatenate(changes))


def _structure(table: Table, place: int, weights: Floats, unit: str) -> StructureResult:
    dice, hd95, invented = (table[name][:, place] for name in ("dice", "hd95", "invented"))
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


def compute_set(name: str, scores: Sequence[CaseScore], figures: Sequence[GeneratorFigures]) -> SetResults:
    """Compute everything about one set from the scores of all its U-Nets and the figures of all its generators.

    The latter are none where they are not at hand.
    """
    rows = compute_rows(scores)
    recipes = dict.fromkeys(row["recipe"] for row in figures)
    generators = [_average([row for row in figures if row["recipe"] == recipe]) for recipe in recipes]
    dice = {row["recipe"]: row["dice"]["value"] for row in rows if row["arm"] == GENERATED_ARM}
    ranked = [own for own in generators if own["recipe"] in dice]
    found = [
        correlate(metric, [own["metrics"][metric]["value"] for own in ranked], [dice[own["recipe"]] for own in ranked])
        for metric in METRICS
        if all(metric in own["metrics"] for own in ranked)
    ]
    correlations = [own for own in found if own is not None]
    published = published_for(name)
    measured = [(row.fid, row.dice) for row in published if row.fid is not None]
    return SetResults(
        name=name,
        patients=len({score.patient for score in scores}),
        cases=len({score.case for score in scores}),
        rows=rows,
        generators=generators,
        correlations=correlations,
        claims=[Claim(recipe=row.recipe, fid=row.fid, dice=row.dice) for row in published],
        claimed_correlation=correlate("fid", *map(list, zip(*measured, strict=True))) if measured else None,
        verdict=conclude(rows, correlations),
    )


def _average(figures: Sequence[GeneratorFigures]) -> GeneratorResult:
    first = figures[0]
    memories = [row["memory_gib"] for row in figures if row["memory_gib"] is not None]
    metrics = {}
    for metric in dict.fromkeys(row["name"] for own in figures for row in own["metrics"] if row["name"] in METRICS):
        own_rows = [row for own in figures for row in own["metrics"] if row["name"] == metric]
        metrics[metric] = MetricMean(
            value=float(np.mean([row["value"] for row in own_rows])),
            floor=_mean_if_all([row["floor"] for row in own_rows]),
            ratio=_mean_if_all([row["ratio"] for row in own_rows]),
            n=own_rows[0]["n"],
        )
    return GeneratorResult(
        recipe=first["recipe"],
        trainings=len(figures),
        images=float(np.mean([row["images"] for row in figures])),
        steps=float(np.mean([row["steps"] for row in figures])),
        kimg=float(np.mean([row["kimg"] for row in figures])),
        seconds_per_epoch=float(np.mean([row["seconds_per_epoch"] for row in figures])),
        memory_gib=max(memories, default=None),
        weights=first["weights"],
        metrics=metrics,
        space=first["metrics"][0]["space"] if first["metrics"] else "",
        structures=_mean_shares([row["structures"] for row in figures]),
        real_structures=_mean_shares([row["real_structures"] for row in figures]),
    )


def _mean_if_all(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None


def _mean_shares(shares: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([own[name] for own in shares])) for name in shares[0]}
