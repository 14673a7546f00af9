"""How much higher figures come out when a training may see something of its test images, and through what.

The same images and seeds are answered under three protocols: ``sealed``; ``plain`` folds, which let near-duplicates of
a test image into training, while each fold's generators still read its training images only; and ``thesis``, where the
generators read all images besides.  What each step adds is a paired difference, by group.  The images that are alone in
their group are a control: near-duplicates cannot have helped them.
"""

from collections.abc import Mapping, Sequence
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.statistics import classification
from sonoforge.training.statistics.intervals import Figure, Floats, Labels, group_weights, percentile_interval
from sonoforge.training.statistics.predictions import Predictions
from sonoforge.training.statistics.results import Interval

STEPS = (("sealed", "plain"), ("plain", "thesis"), ("sealed", "thesis"))
"""Pairs of protocols: what near-duplicates add, what the generators' sight of test images adds, and both."""


class LeakStep(TypedDict):
    """What an arm's figures gain from one protocol to another, with 95 % intervals by group."""

    arm: str
    first: str
    second: str
    accuracy: Interval
    macro_auc: Interval
    accuracy_of_grouped: Interval  # of images with others in their group
    accuracy_of_single: Interval  # of images alone in their group


class Gain(TypedDict):
    """Accuracy of an arm less that of the baseline, by protocol, and how much of it one protocol adds to sealed's."""

    arm: str
    baseline: str
    gains: dict[str, Interval]
    beyond_sealed: dict[str, Interval]


class Leakage(TypedDict):
    """The leaks of all arms; ``accuracy`` by arm and protocol."""

    images: int
    grouped: int
    groups: int
    seeds: list[int]
    accuracy: dict[str, dict[str, Interval]]
    steps: list[LeakStep]
    gains: list[Gain]


Answers = Mapping[tuple[str, str], Sequence[Predictions]]  # of each seed, by arm and protocol


def measure_leakage(answers: Answers) -> Leakage:
    """Compare the protocols, in pairs, by group.

    Args:
        answers: Of the same images and seeds; the first arm is the baseline.  An arm that reads no generator may lack
            ``thesis``: its ``plain`` answers are the same.

    Raises:
        SonoforgeError: Other images or seeds under one protocol than under another.
    """
    first = next(iter(answers.values()))[0]
    order = {key: [_in_order(part, first.files) for part in parts] for key, parts in answers.items()}
    seeds = [part.seed for part in next(iter(answers.values()))]
    for (arm, protocol), parts in order.items():
        if [part.seed for part in parts] != seeds or any((part.groups != first.groups).any() for part in parts):
            raise SonoforgeError(f"{arm} under {protocol}: found other seeds or groups than under the other protocols")
    sizes = np.bincount(np.unique(first.groups, return_inverse=True)[1])
    several = sizes[np.unique(first.groups, return_inverse=True)[1]] > 1
    weights = group_weights(first.groups)
    accuracy = {key: _figure(classification.accuracies, parts, weights) for key, parts in order.items()}
    arms = list(dict.fromkeys(arm for arm, _ in order))
    steps = [
        LeakStep(
            arm=arm,
            first=one,
            second=other,
            accuracy=_difference(accuracy[arm, one], accuracy[arm, other]),
            macro_auc=_difference(
                *(_figure(classification.macro_aucs, order[arm, name], weights) for name in (one, other))
            ),
            accuracy_of_grouped=_difference(*(_accuracy(order[arm, name], weights, several) for name in (one, other))),
            accuracy_of_single=_difference(*(_accuracy(order[arm, name], weights, ~several) for name in (one, other))),
        )
        for arm in arms
        for one, other in STEPS
        if {(arm, one), (arm, other)} <= order.keys()
    ]
    return Leakage(
        images=len(first.files),
        grouped=int(several.sum()),
        groups=len(sizes),
        seeds=seeds,
        accuracy={
            arm: {name: percentile_interval(values) for (own, name), values in accuracy.items() if own == arm}
            for arm in arms
        },
        steps=steps,
        gains=[_gain(arm, arms[0], accuracy) for arm in arms[1:]],
    )


def _gain(arm: str, baseline: str, accuracy: Mapping[tuple[str, str], Floats]) -> Gain:
    gains = {
        name: values - accuracy.get((baseline, name), accuracy[baseline, "plain"])
        for (own, name), values in accuracy.items()
        if own == arm
    }
    return Gain(
        arm=arm,
        baseline=baseline,
        gains={name: percentile_interval(values) for name, values in gains.items()},
        beyond_sealed={
            name: percentile_interval(values - gains["sealed"]) for name, values in gains.items() if name != "sealed"
        },
    )


def _in_order(part: Predictions, files: tuple[str, ...]) -> Predictions:
    ordered = part.in_order_of(files)
    if ordered is None:
        raise SonoforgeError(f"{part.arm} under {part.protocol}: found other images than under the other protocols")
    return ordered


def _figure(figure: Figure[Labels], parts: Sequence[Predictions], weights: Floats) -> Floats:
    """Mean of the seeds, (R,)."""
    mean: Floats = np.mean([figure(part.labels, part.probabilities, weights) for part in parts], axis=0)
    return mean


def _accuracy(parts: Sequence[Predictions], weights: Floats, chosen: NDArray[np.bool_]) -> Floats:
    """Mean accuracy of the seeds on the chosen images, (R,); nan where none is drawn."""
    inside = np.where(chosen, weights, 0.0)
    right = np.mean([part.predicted == part.labels for part in parts], axis=0)
    total = inside.sum(axis=1)
    share: Floats = np.divide(inside @ right, total, out=np.full(len(total), np.nan), where=total > 0)
    return share


def _difference(first: Floats, second: Floats) -> Interval:
    return percentile_interval(second - first)
