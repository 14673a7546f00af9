"""Keep a segmentation experiment's scores (``cases.csv``), and derive its figures from them.

A figure is a mean over cases, averaged over the seeds first; its interval resamples patients.  The Dice of a row is the
mean over its structures.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import stats

from sonoforge.runtime.atomic import write_text
from sonoforge.runtime.csv_tables import csv_text, defused, number, read_table
from sonoforge.runtime.errors import SonoforgeError, refusing
from sonoforge.training.run_folder import write_table
from sonoforge.training.segmentation.generating import METRICS
from sonoforge.training.statistics.intervals import Floats, group_weights, percentile_interval
from sonoforge.training.statistics.published import SEGMENTATION_SOURCE, published_for
from sonoforge.training.statistics.results import Interval, Record

REAL_ARM, AUGMENTED_ARM, GENERATED_ARM = "real", "augmented", "generated"

CASES, TABLE = "cases.csv", "table.csv"
SCORES = ("dice", "iou", "hd95")
_NUMBERS = ("seed", "fold", "patient")
CLAIM = f"claim of {SEGMENTATION_SOURCE}, under another protocol"
_COMPARED = ("dice", "against_real", "against_augmented")
_ENDS = {"": "value", "_low": "low", "_high": "high"}
COLUMNS = (
    *("set", "arm", "recipe", *(f"{name}{end}" for name in _COMPARED for end in _ENDS)),
    *("fid", "fid_ratio", "kid", "kid_ratio", "seconds_per_epoch", "memory_gib", "weights", "source"),
)


# ---- files


class CaseScore(NamedTuple):
    """One U-Net's scores for one structure in one case: a row of ``cases.csv``."""

    data: str  # name of the set
    arm: str
    recipe: str  # empty for arms without generated pairs
    seed: int
    fold: int
    patient: int  # number of the group that intervals resample
    case: str
    structure: str
    dice: float  # nan where the reference has nothing of the structure
    iou: float
    hd95: float  # nan where prediction or reference has nothing, too
    unit: str  # of hd95
    invented: bool  # predicted where the reference has nothing


def write_cases(path: Path, scores: Iterable[CaseScore], digits: int = 6) -> None:
    """Write the scores with this many digits, one row for each case and structure; leave undefined ones empty."""
    rows: list[Iterable[str]] = [CaseScore._fields]
    for score in scores:
        row = score._asdict()
        row |= {name: "" if math.isnan(row[name]) else f"{row[name]:.{digits}g}" for name in SCORES}
        rows.append(map(defused, map(str, (row | {"invented": int(score.invented)}).values())))
    write_text(path, csv_text(rows))


def read_cases(path: Path, remedy: str = f"give {CASES} of a run of sonoforge segment") -> list[CaseScore]:
    """Read `write_cases`'s file, or one compressed by gzip (``.csv.gz``).

    Raises:
        SonoforgeError: Columns differ, or a cell is not a number; the message ends with the remedy.
    """
    scores = []
    for row in read_table(path, CaseScore._fields, remedy, whole=True).rows:
        cells, line = {name: row[name] for name in CaseScore._fields}, row.line
        with refusing(f"{path}: line {line}: a cell is not a number", remedy, ValueError):
            values = {name: number(cells[name]) if cells[name] else math.nan for name in SCORES}
            numbers = {name: int(cells[name]) for name in _NUMBERS}
            invented = {"invented": bool(int(cells["invented"]))}
        if any(value < 0 for value in values.values()) or values["dice"] > 1 or values["iou"] > 1:
            raise SonoforgeError(f"{path}: line {line}: a Dice of {values['dice']} is not between 0 and 1; {remedy}")
        scores.append(CaseScore(**{**cells, **values, **numbers, **invented}))  # type: ignore[arg-type]
    if not scores:
        raise SonoforgeError(f"{path}: has no rows; {remedy}")
    return scores


def write_tables(folder: Path, results: Sequence[Record]) -> None:
    """Write ``table.csv``: for each set a row for each arm and generator, then the paper's."""
    write_table(folder / TABLE, COLUMNS, [row for own in results for row in _rows_of(own)])


def _rows_of(own: Record) -> Iterator[dict[str, object]]:
    generators = {generator["recipe"]: generator for generator in own["generators"]}
    for row in own["rows"]:
        cells: dict[str, object] = {"set": own["name"], "source": "this run"}
        cells |= {name: row[name] for name in ("arm", "recipe")}
        for name in _COMPARED:
            if found := row[name]:
                cells |= {f"{name}{end}": found[key] for end, key in _ENDS.items()}
        generator = generators.get(row["recipe"])
        if generator is not None:
            for name, metric in generator["metrics"].items():
                cells |= {name: metric["value"], f"{name}_ratio": metric["ratio"]}
            cells |= {name: generator[name] for name in ("seconds_per_epoch", "memory_gib", "weights")}
        yield cells
    for claim in own["claims"]:
        arm = "generated" if claim["recipe"] else "real"
        yield {"set": own["name"], "arm": arm, **claim, "source": CLAIM}


FEWEST_RANKED = 4  # generators whose order is compared; fewer prove nothing
_PERMUTATIONS = 10_000  # at most: up to 7 generators the p value is exact


Table = Mapping[str, Floats]
"""The `SCORES` of one row and ``invented``, (cases, structures) each, in the same order for all rows of a set."""


def compute_rows(scores: Sequence[CaseScore]) -> list[Record]:
    """Compute the table of one set from the scores of all its U-Nets."""
    structures = list(dict.fromkeys(score.structure for score in scores))
    units = {score.structure: score.unit for score in scores}
    keys = list(dict.fromkeys((score.arm, score.recipe) for score in scores))
    cases = sorted({(score.fold, score.patient, score.case) for score in scores})
    tables = {
        key: _table([score for score in scores if (score.arm, score.recipe) == key], cases, structures) for key in keys
    }
    weights = group_weights(np.array([patient for _, patient, _ in cases], np.int64))
    return [
        {
            "arm": arm,
            "recipe": recipe,
            "dice": percentile_interval(_mean_dice(table, weights)),
            "structures": {name: _structure(table, row, weights, units[name]) for row, name in enumerate(structures)},
            **{f"against_{on}": _difference(table, tables.get((on, "")), weights) for on in (REAL_ARM, AUGMENTED_ARM)},
        }
        for (arm, recipe), table in tables.items()
    ]


def _table(scores: Iterable[CaseScore], cases: Sequence[tuple[int, int, str]], structures: Sequence[str]) -> Table:
    """Average over the seeds if a score is defined for all of them."""
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
    """Return the means (R, K) of the defined values (N, K), for weights (R, N)."""
    known = ~np.isnan(values)
    total = weights @ known
    return np.where(total > 0, weights @ np.where(known, values, 0) / np.where(total > 0, total, 1), np.nan)


def _mean_dice(table: Table, weights: Floats) -> Floats:
    """Return the mean over the structures of their mean Dice, (R,)."""
    return np.asarray(_means(table["dice"], weights).mean(1))


def _difference(table: Table, other: Table | None, weights: Floats) -> Interval | None:
    if other is None or other is table:
        return None
    return percentile_interval(_mean_dice(table, weights) - _mean_dice(other, weights))


def _structure(table: Table, place: int, weights: Floats, unit: str) -> Record:
    dice, hd95, invented = (table[name][:, place] for name in ("dice", "hd95", "invented"))
    there = ~np.isnan(dice)
    return {
        **{name: percentile_interval(_means(table[name][:, [place]], weights)[:, 0]) for name in SCORES},
        "unit": unit,
        "cases": int(there.sum()),
        "missed": float((there & np.isnan(hd95)).sum()),
        "without": int((~there).sum()),
        "invented": float(invented[~there].sum()),
    }


def correlate(metric: str, values: Sequence[float], dice: Sequence[float]) -> Record | None:
    """Compare the order of G generators by a metric, and by the Dice of a U-Net trained only on each one's pairs.

    Spearman's ``rho`` (-1: the lowest metric is the most useful) and two-sided ``p_value`` by permutation, ``exact`` if
    all were tried.  None for fewer than four generators, or if all are equal.
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
    return {
        "metric": metric,
        "generators": len(values),
        "rho": float(found.statistic),
        "p_value": float(found.pvalue),
        "exact": exact,
    }


def compute_set(name: str, scores: Sequence[CaseScore], figures: Sequence[Record]) -> Record:
    """Compute everything about one set from the scores of all its U-Nets and, if available, its generators' figures."""
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
    return {
        "name": name,
        "patients": len({score.patient for score in scores}),
        "cases": len({score.case for score in scores}),
        "rows": rows,
        "generators": generators,
        "correlations": correlations,
        "claims": [{"recipe": row.recipe, "fid": row.fid, "dice": row.dice} for row in published],
        "claimed_correlation": correlate("fid", *map(list, zip(*measured, strict=True))) if measured else None,
    }


def _average(figures: Sequence[Record]) -> Record:
    """Average the figures of one recipe's generators."""
    first, metrics = figures[0], {}
    for metric in METRICS:
        own = [row for one in figures for row in one["metrics"] if row["name"] == metric]
        if own:
            values = {name: _mean_if_all([row[name] for row in own]) for name in ("value", "floor", "ratio")}
            metrics[metric] = {**values, "n": own[0]["n"]}
    averaged = ("images", "steps", "kimg", "seconds_per_epoch")
    shares = {
        kind: {name: _mean_if_all([one[kind][name] for one in figures]) for name in first["structures"]}
        for kind in ("structures", "real_structures")
    }
    return {
        **{name: first[name] for name in ("recipe", "weights", "classes", "perceptual")},
        "trainings": len(figures),
        **{name: _mean_if_all([one[name] for one in figures]) for name in averaged},
        "memory_gib": max((one["memory_gib"] for one in figures if one["memory_gib"] is not None), default=None),
        "metrics": metrics,
        "space": first["metrics"][0]["space"] if first["metrics"] else "",
        **shares,
    }


def _mean_if_all(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None
