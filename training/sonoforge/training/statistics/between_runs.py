"""Compare runs on the same images in pairs: the effect of a change in settings, and of what training runs may see."""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.statistics import classification
from sonoforge.training.statistics.classification import auc_by_group, each_against_rest, mean_aucs
from sonoforge.training.statistics.intervals import Floats, group_weights, percentile_interval, wilson_by_group
from sonoforge.training.statistics.predictions import Predictions
from sonoforge.training.statistics.results import Interval, Record
from sonoforge.training.statistics.tables import ToldApart, told_apart


class _Figure(NamedTuple):
    """A figure of some images: the mean area of the kinds that probabilities (N, C) tell apart, or the accuracy."""

    name: str
    collection: str
    chosen: NDArray[np.bool_]  # (N,) its images
    kinds: Callable[[Floats], list[tuple[NDArray[np.bool_], Floats]]] | None = None  # None: accuracy


def in_order_of(first: Sequence[Predictions], other: Sequence[Predictions]) -> list[Predictions]:
    """Return the other run's predictions with the first's seeds, in the order of the first's seeds and images.

    Raises:
        SonoforgeError: There is no common seed, or the images differ.
    """
    by_seed = {part.seed: part for part in other}
    ordered = [by_seed[part.seed].in_order_of(part) for part in first if part.seed in by_seed]
    if not ordered:
        raise SonoforgeError(
            f"no seed in common: {', '.join(map(str, by_seed))} here, {', '.join(str(p.seed) for p in first)} in the "
            "first run"
        )
    return ordered


def compare_run(
    first: Sequence[Predictions], second: Sequence[Predictions] | None, classes: Sequence[str]
) -> list[Record]:
    """Compare a run with the first one (None: describe the first itself), figure by figure, paired by image and seed.

    Both have one part for each seed, see `in_order_of`.  Intervals hold for these seeds; those of a change resample the
    same whole groups of images for both runs and all seeds.
    """
    rows = []
    for figure in _figures(first[0], classes):
        weights = group_weights(first[0].groups[figure.chosen])
        (_, before), (value, after) = (_measure(figure, parts, weights) for parts in (first, second or first))
        rows.append(
            {
                "figure": figure.name,
                "collection": figure.collection,
                "images": weights.shape[1],
                "value": value,
                "change": None if second is None else percentile_interval(after - before),
            }
        )
    return rows


def chosen_by_others(runs: Mapping[str, Sequence[Record]]) -> list[Record]:
    """For each collection and figure, choose the run with the best mean over the other collections.

    If each collection was left out of training in turn, the choice does not depend on answers to its own images.
    """
    found = []
    names = list(runs)
    rows = [row for row in runs[names[0]] if row["collection"]]
    for figure in dict.fromkeys(row["figure"] for row in rows):
        values = {
            name: {row["collection"]: row["value"] for row in runs[name] if row["figure"] == figure} for name in names
        }
        collections = list(values[names[0]])
        for own in collections if len(collections) > 1 else ():
            others = [name for name in collections if name != own]
            best = max(names, key=lambda name: float(np.mean([values[name][other]["value"] for other in others])))
            found.append({"figure": figure, "collection": own, "run": best, "value": values[best][own]})
    return found


def _figures(part: Predictions, classes: Sequence[str]) -> Iterator[_Figure]:
    """Yield accuracy and macro-AUC of all images, then the AUC of two classes in each collection."""
    everywhere = np.ones(len(part.labels), bool)
    yield _Figure("accuracy", "", everywhere)
    yield _Figure("macro-AUC", "", everywhere, functools.partial(each_against_rest, part.labels))
    collections = np.array(part.collections) if part.collections else np.array([""] * len(part.labels))
    for name in dict.fromkeys(collections.tolist()):
        inside = collections == name
        for kinds in told_apart(part.labels[inside], classes):
            chosen = inside.copy()
            chosen[inside] = kinds.chosen
            yield _Figure(f"AUC {kinds.name}", name, chosen, functools.partial(_kinds, kinds))


def _kinds(kinds: ToldApart, probabilities: Floats) -> list[tuple[NDArray[np.bool_], Floats]]:
    return [(kinds.positive, kinds.scores(probabilities))]


def _measure(figure: _Figure, parts: Sequence[Predictions], weights: Floats) -> tuple[Interval, Floats]:
    """Return a figure's mean over seeds with its interval, and the means (R,) for weights (R, N)."""
    own = [part.reordered(np.flatnonzero(figure.chosen)) for part in parts]
    if figure.kinds is None:
        right = np.mean([part.predicted == part.labels for part in own], axis=0)
        return wilson_by_group(right, own[0].groups), weights @ right / weights.sum(axis=1)
    kinds = [kind for part in own for kind in figure.kinds(part.probabilities)]
    return auc_by_group(kinds, own[0].groups), mean_aucs(kinds, weights)


# ---- leaks

LEAKS = ("sealed", "plain", "thesis")
"""The protocols of ``crossval --protocol leakage``, each with one leak more."""
LEAK_STEPS = (("sealed", "plain"), ("plain", "thesis"), ("sealed", "thesis"))
"""Pairs of protocols: near-duplicates in training, generators that saw test images, and both."""


def measure_leakage(parts: Sequence[Predictions]) -> Record:
    """Compare protocols in pairs, by group, averaged over seeds; the first arm is the baseline.

    Images that are alone in their group are a control: near-duplicates cannot help them. An arm without generators may
    lack ``thesis``: its ``plain`` answers are the same.

    Raises:
        SonoforgeError: Protocols have different images or seeds.
    """
    first = parts[0]
    answers: dict[tuple[str, str], list[Predictions]] = {}
    for part in sorted(parts, key=lambda part: part.arm != first.arm):
        answers.setdefault((part.arm, part.protocol), []).append(part.in_order_of(first))
    seeds = [part.seed for part in next(iter(answers.values()))]
    for (arm, protocol), own in answers.items():
        if [part.seed for part in own] != seeds or any((part.groups != first.groups).any() for part in own):
            raise SonoforgeError(f"{arm} under {protocol}: seeds or groups differ from the other protocols")
    _, group, sizes = np.unique(first.groups, return_inverse=True, return_counts=True)
    several = sizes[group] > 1
    weights = group_weights(first.groups)
    figures = {
        "accuracy": (classification.accuracies, weights),
        "macro_auc": (classification.macro_aucs, weights),
        "accuracy_of_grouped": (classification.accuracies, np.where(several, weights, 0.0)),
        "accuracy_of_single": (classification.accuracies, np.where(several, 0.0, weights)),
    }
    with np.errstate(invalid="ignore"):  # nan where a draw has no such image
        found = {
            (*key, name): np.mean([figure(part.labels, part.probabilities, drawn) for part in own], axis=0)
            for key, own in answers.items()
            for name, (figure, drawn) in figures.items()
        }
    arms = list(dict.fromkeys(arm for arm, _ in answers))
    accuracy = {arm: {name: found[arm, name, "accuracy"] for own, name in answers if own == arm} for arm in arms}
    baseline = accuracy[arms[0]]
    gains = {
        arm: {name: own - baseline.get(name, baseline["plain"]) for name, own in accuracy[arm].items()}
        for arm in arms[1:]
    }
    return {
        "images": len(first.files),
        "grouped": int(several.sum()),
        "groups": len(sizes),
        "seeds": seeds,
        "accuracy": {arm: _intervals(own) for arm, own in accuracy.items()},
        "steps": [
            {"arm": arm, "first": one, "second": other}
            | _intervals({name: found[arm, other, name] - found[arm, one, name] for name in figures})
            for arm in arms
            for one, other in LEAK_STEPS
            if {(arm, one), (arm, other)} <= answers.keys()
        ],
        "gains": [
            {
                "arm": arm,
                "baseline": arms[0],
                "gains": _intervals(own),
                "beyond_sealed": _intervals({name: own[name] - own["sealed"] for name in own if name != "sealed"}),
            }
            for arm, own in gains.items()
        ],
    }


def _intervals(figures: Mapping[str, Floats]) -> Record:
    return {name: percentile_interval(values) for name, values in figures.items()}
