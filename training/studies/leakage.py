"""How much better do figures look if a training sees something of its test images?

    python training/studies/leakage.py predictions.csv [predictions.csv ...]

The tables are of ``sonoforge crossval`` with the same images, seeds and arms under three protocols: ``sealed``;
``plain`` folds, which let near-duplicates of test images into training; and ``thesis``, where generators also read the
test images.  Each step's effect is a paired difference, by group.  Images alone in their group are a control:
near-duplicates cannot help them.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.reports.terminal import plain_table
from sonoforge.training.statistics import classification
from sonoforge.training.statistics.intervals import Figure, Floats, Labels, group_weights, percentile_interval
from sonoforge.training.statistics.predictions import Predictions, read_predictions
from sonoforge.training.statistics.results import Interval, Record
from sonoforge.training.statistics.wording import bracket, is_number, points

PROTOCOLS = ("sealed", "plain", "thesis")
CAUSES = {
    ("sealed", "plain"): "near-duplicates in training (plain - sealed)",
    ("plain", "thesis"): "generators that saw the test images (thesis - plain)",
    ("sealed", "thesis"): "both (thesis - sealed)",
}
STEPS = (("sealed", "plain"), ("plain", "thesis"), ("sealed", "thesis"))
"""Pairs of protocols: near-duplicates in training, generators that saw test images, and both."""


Answers = Mapping[tuple[str, str], Sequence[Predictions]]  # of each seed, by arm and protocol


def measure_leakage(answers: Answers) -> Record:
    """Compare the protocols in pairs, by group; the first arm is the baseline.

    An arm that reads no generator may lack ``thesis``: its ``plain`` answers are the same.

    Raises:
        SonoforgeError: Other images or seeds under one protocol than under another.
    """
    first = next(iter(answers.values()))[0]
    order = {key: [part.in_order_of(first) for part in parts] for key, parts in answers.items()}
    seeds = [part.seed for part in next(iter(answers.values()))]
    for (arm, protocol), parts in order.items():
        if [part.seed for part in parts] != seeds or any((part.groups != first.groups).any() for part in parts):
            raise SonoforgeError(f"{arm} under {protocol}: seeds or groups differ from the other protocols")
    sizes = np.bincount(np.unique(first.groups, return_inverse=True)[1])
    several = sizes[np.unique(first.groups, return_inverse=True)[1]] > 1
    weights = group_weights(first.groups)
    accuracy = {key: _figure(classification.accuracies, parts, weights) for key, parts in order.items()}
    arms = list(dict.fromkeys(arm for arm, _ in order))
    steps = [
        {
            "arm": arm,
            "first": one,
            "second": other,
            "accuracy": percentile_interval(accuracy[arm, other] - accuracy[arm, one]),
            "macro_auc": _difference(
                *(_figure(classification.macro_aucs, order[arm, name], weights) for name in (one, other))
            ),
            "accuracy_of_grouped": _difference(
                *(_accuracy(order[arm, name], weights, several) for name in (one, other))
            ),
            "accuracy_of_single": _difference(
                *(_accuracy(order[arm, name], weights, ~several) for name in (one, other))
            ),
        }
        for arm in arms
        for one, other in STEPS
        if {(arm, one), (arm, other)} <= order.keys()
    ]
    return {
        "images": len(first.files),
        "grouped": int(several.sum()),
        "groups": len(sizes),
        "seeds": seeds,
        "accuracy": {
            arm: {name: percentile_interval(values) for (own, name), values in accuracy.items() if own == arm}
            for arm in arms
        },
        "steps": steps,
        "gains": [_gain(arm, arms[0], accuracy) for arm in arms[1:]],
    }


def _gain(arm: str, baseline: str, accuracy: Mapping[tuple[str, str], Floats]) -> Record:
    gains = {
        name: values - accuracy.get((baseline, name), accuracy[baseline, "plain"])
        for (own, name), values in accuracy.items()
        if own == arm
    }
    return {
        "arm": arm,
        "baseline": baseline,
        "gains": {name: percentile_interval(values) for name, values in gains.items()},
        "beyond_sealed": {
            name: percentile_interval(values - gains["sealed"]) for name, values in gains.items() if name != "sealed"
        },
    }


def _figure(figure: Figure[Labels], parts: Sequence[Predictions], weights: Floats) -> Floats:
    """Return the mean of the seeds, (R,)."""
    mean: Floats = np.mean([figure(part.labels, part.probabilities, weights) for part in parts], axis=0)
    return mean


def _accuracy(parts: Sequence[Predictions], weights: Floats, chosen: NDArray[np.bool_]) -> Floats:
    """Return the mean accuracy of the seeds on the chosen images, (R,); nan if none is drawn."""
    inside = np.where(chosen, weights, 0.0)
    right = np.mean([part.predicted == part.labels for part in parts], axis=0)
    total = inside.sum(axis=1)
    share: Floats = np.divide(inside @ right, total, out=np.full(len(total), np.nan), where=total > 0)
    return share


def _difference(first: Floats, second: Floats) -> Interval:
    return percentile_interval(second - first)


def _by_protocol(parts: Sequence[Predictions]) -> dict[tuple[str, str], list[Predictions]]:
    """Sort the answers, those of the first arm first: it is the baseline."""
    found: dict[tuple[str, str], list[Predictions]] = {}
    for part in sorted(parts, key=lambda part: part.arm != parts[0].arm):
        found.setdefault((part.arm, part.protocol), []).append(part)
    return found


def leakage_text(parts: Sequence[Predictions]) -> str:
    """Say the accuracy under each protocol, what each leak adds, and what is left of the gain."""
    found, lines = measure_leakage(_by_protocol(parts)), []
    seeds = ", ".join(map(str, found["seeds"]))
    lines.append(
        f"{found['images']} images in {found['groups']} groups, seeds {seeds}; in points, 95 % intervals by group"
    )
    rows = [
        (arm, *(_points(accuracy[name], "") if name in accuracy else "as plain" for name in PROTOCOLS))
        for arm, accuracy in found["accuracy"].items()
    ]
    lines.append(plain_table(("accuracy, %", *PROTOCOLS), rows, (1, 2, 3)))
    for step in found["steps"]:
        lines.append(f"{step['arm']}: {CAUSES[step['first'], step['second']]}: {_points(step['accuracy'])}")
        if (step["first"], step["second"]) == ("sealed", "plain"):
            grouped, single = _points(step["accuracy_of_grouped"]), _points(step["accuracy_of_single"])
            lines.append("  " + f"of the {found['grouped']} images with others in their group {grouped};")
            alone = found["images"] - found["grouped"]
            lines.append("  " + f"of the {alone} alone, which no near-duplicate helps, {single}")
    for row in found["gains"]:
        lines.append(f"{row['arm']}: gain over {row['baseline']}:")
        for name in PROTOCOLS:
            if name in row["gains"]:
                leaks = f", of which leaks {_points(own)}" if (own := row["beyond_sealed"].get(name)) else ""
                lines.append("  " + f"{name} {_points(row['gains'][name])}{leaks}")
    return "\n".join(lines) + "\n"


def _points(figure: Interval, sign: str = "+") -> str:
    if not is_number(figure["value"]):
        return "no such image"
    value, *ends = (points(end, sign=sign) for end in (figure["value"], figure["low"], figure["high"]))
    return f"{value} {bracket(*ends)}"


if __name__ == "__main__":
    print(leakage_text([part for path in sys.argv[1:] for part in read_predictions(Path(path))[0]]), end="")
