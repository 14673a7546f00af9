"""Two runs on the same images: what a change of settings gained or lost, over all seeds that both have."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.statistics import classification
from sonoforge.training.statistics.auc import weighted_auc
from sonoforge.training.statistics.by_source import ToldApart, told_apart
from sonoforge.training.statistics.intervals import Floats, group_weights, percentile_interval
from sonoforge.training.statistics.predictions import Predictions
from sonoforge.training.statistics.results import Interval


class ComparedFigure(TypedDict):
    """One figure of a run, and how it differs from the first run's; means over the seeds."""

    figure: str  # `accuracy`, `macro-AUC`, or `AUC` of two classes, or of the first class against the rest
    collection: str  # empty: all images
    images: int
    value: Interval
    change: Interval | None  # None: of the first run itself


class OthersChoice(TypedDict):
    """The run that does best on the other collections, and what it reaches on this one."""

    figure: str
    collection: str
    run: str
    value: Interval


class _Figure(NamedTuple):
    """How a figure is computed from probabilities (N, C) and weights (R, N) of N images: (R,)."""

    name: str
    collection: str
    chosen: NDArray[np.bool_]  # (N,) images that it is of
    compute: Callable[[Floats, Floats], Floats]


def in_order_of(first: Sequence[Predictions], other: Sequence[Predictions]) -> list[Predictions]:
    """Return those of the other run with seeds of the first, in the order of its seeds and images.

    Raises:
        SonoforgeError: No seed or not the same images in common.
    """
    by_seed = {part.seed: part for part in other}
    ordered = []
    for part in first:
        own = by_seed.get(part.seed)
        if own is None:
            continue
        same = own.in_order_of(part.files)
        if same is None:
            missing = len(set(part.files) ^ set(own.files))
            raise SonoforgeError(
                f"found {missing} images in one run and not in the other, expected the same images; compare runs on "
                "the same data"
            )
        if (same.labels != part.labels).any():
            raise SonoforgeError(
                "found other classes for some images, expected the same; compare runs on the same data"
            )
        ordered.append(same)
    if not ordered:
        raise SonoforgeError(
            f"found seeds {', '.join(map(str, by_seed))}, expected one of {', '.join(str(p.seed) for p in first)}; "
            "compare runs with a seed in common"
        )
    return ordered


def compare_run(
    first: Sequence[Predictions], second: Sequence[Predictions] | None, classes: Sequence[str]
) -> list[ComparedFigure]:
    """Compare a run with the first one, figure by figure, in pairs: image by image and seed by seed.

    Intervals draw whole groups of images, the same for both runs and all seeds: they hold for these seeds.

    Args:
        first: Predictions of the first run, one a seed.
        second: Those of the other run with the same seeds and in the same order, see `in_order_of`; None: the figures
            of the first run itself.
        classes: C names.
    """
    rows = []
    for figure in _figures(first[0], classes):
        weights = group_weights(first[0].groups[figure.chosen])
        before, after = (  # (seeds, 1 + draws)
            np.stack([figure.compute(part.probabilities[figure.chosen], weights) for part in parts])
            for parts in (first, second or first)
        )
        rows.append(
            ComparedFigure(
                figure=figure.name,
                collection=figure.collection,
                images=weights.shape[1],
                value=percentile_interval(after.mean(axis=0)),
                change=None if second is None else percentile_interval((after - before).mean(axis=0)),
            )
        )
    return rows


def chosen_by_others(runs: Mapping[str, Sequence[ComparedFigure]]) -> list[OthersChoice]:
    """Choose, for each collection and figure, the run with the best mean of this figure over the other collections.

    Where each collection was left out of training in turn, no answer to its images has a part in the choice of its run.

    Args:
        runs: Figures of each run by its name, all in the same order.
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
            found.append(OthersChoice(figure=figure, collection=own, run=best, value=values[best][own]))
    return found


def _figures(part: Predictions, classes: Sequence[str]) -> Iterator[_Figure]:
    """Yield accuracy and macro-AUC of all images, then the areas of two classes in each collection."""
    everywhere = np.ones(len(part.labels), bool)
    for name, figure in (("accuracy", classification.accuracies), ("macro-AUC", classification.macro_aucs)):
        yield _Figure(name, "", everywhere, _of_classes(figure, part.labels))
    collections = np.array(part.collections) if part.collections else np.array([""] * len(part.labels))
    for name in dict.fromkeys(collections.tolist()):
        inside = collections == name
        for kinds in told_apart(part.labels[inside], classes):
            chosen = inside.copy()
            chosen[inside] = kinds.chosen
            yield _Figure(f"AUC {kinds.name}", name, chosen, _of_kinds(kinds))


def _of_classes(figure: Callable[..., Floats], labels: NDArray[np.int64]) -> Callable[[Floats, Floats], Floats]:
    return lambda probabilities, weights: figure(labels, probabilities, weights)


def _of_kinds(kinds: ToldApart) -> Callable[[Floats, Floats], Floats]:
    return lambda probabilities, weights: weighted_auc(kinds.positive, kinds.scores(probabilities), weights)
