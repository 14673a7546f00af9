"""All that is found out about one set: its table, its generators, what the paper claims, and the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy as np

from sonoforge.training.segmentation.generating import METRICS, GeneratorFigures
from sonoforge.training.segmentation.judging import CaseScore
from sonoforge.training.segmentation.results import (
    GENERATED_ARM,
    ArmResult,
    RankCorrelation,
    compute_rows,
    correlate,
)
from sonoforge.training.segmentation.verdict import conclude
from sonoforge.training.statistics.published_segmentation import published_for


class MetricMean(TypedDict):
    """A metric of one recipe's images: the mean over folds and seeds, as is each of the others."""

    value: float
    floor: float | None  # what real images score against each other, at as many images a side
    ratio: float | None  # in multiples of the floor's limit; up to 1 cannot be told from real images
    n: int  # images a side of these draws


class GeneratorResult(TypedDict):
    """One recipe: what it took and what it made; means over folds and seeds."""

    recipe: str
    trainings: int
    images: float  # trained on
    steps: float
    kimg: float
    seconds_per_epoch: float
    memory_gib: float | None
    weights: int
    metrics: dict[str, MetricMean]
    space: str  # feature space of the metrics
    structures: dict[str, float]  # share of the pairs that have each structure
    real_structures: dict[str, float]


class Claim(TypedDict):
    """A row that the paper publishes of this set."""

    recipe: str
    fid: float | None
    dice: float


class SetResults(TypedDict):
    """One set of images."""

    name: str
    patients: int  # tested
    cases: int
    rows: list[ArmResult]
    generators: list[GeneratorResult]
    correlations: list[RankCorrelation]
    claims: list[Claim]
    claimed_correlation: RankCorrelation | None  # of the paper's own FID and Dice
    verdict: list[str]


def compute_set(name: str, scores: Sequence[CaseScore], figures: Sequence[GeneratorFigures]) -> SetResults:
    """Compute everything about one set.

    Args:
        name: Of the set.
        scores: Of all U-Nets of the set.
        figures: Of all its generators; none where they are not at hand.
    """
    rows = compute_rows(scores)
    generators = [_average([row for row in figures if row["recipe"] == recipe]) for recipe in _recipes(figures)]
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


def _recipes(figures: Sequence[GeneratorFigures]) -> list[str]:
    return list(dict.fromkeys(row["recipe"] for row in figures))


def _average(figures: Sequence[GeneratorFigures]) -> GeneratorResult:
    first = figures[0]
    memories = [row["memory_gib"] for row in figures if row["memory_gib"] is not None]
    metrics = {}
    for metric in dict.fromkeys(row["name"] for own in figures for row in own["metrics"] if row["name"] in METRICS):
        own_rows = [row for own in figures for row in own["metrics"] if row["name"] == metric]
        metrics[metric] = MetricMean(
            value=float(np.mean([row["value"] for row in own_rows])),
            floor=_mean([row["floor"] for row in own_rows]),
            ratio=_mean([row["ratio"] for row in own_rows]),
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
        structures=_means([row["structures"] for row in figures]),
        real_structures=_means([row["real_structures"] for row in figures]),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None


def _means(shares: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([own[name] for own in shares])) for name in shares[0]}
