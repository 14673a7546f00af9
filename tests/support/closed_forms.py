"""Objectives of known optimum, in place of a GAN's training; workers of other processes import them by name."""

from __future__ import annotations

import dataclasses
import math

from sonoforge.training.architecture_search.space import Parameter
from sonoforge.training.architecture_search.study import COMPLETE, PRUNED, Reports, Trial, Values, gives_up

SPACE = (
    Parameter("optimiser", choices=("adam", "rmsprop")),
    Parameter("learning-rate", (), 1e-5, 1e-1, log=True),
    Parameter("beta1", low=0.0, high=0.9, optimiser="adam"),
    Parameter("batch", choices=(8, 16, 32, 64)),
)


Asked = tuple[Trial, tuple[Reports, ...]]
"""A trial, and those before it."""


def height(values: Values) -> float:
    """Lowest, 0, with Adam at a learning rate of 0.001, beta1 of 0.3 and batches of 16."""
    rate = (math.log10(float(values["learning-rate"] or 0)) + 3) ** 2
    other = (float(values["beta1"] or 0) - 0.3) ** 2 if values["optimiser"] == "adam" else 1.0
    return rate + 4 * other + 0.25 * abs(math.log2(float(values["batch"] or 0)) - 4)


def bowl(asked: Asked) -> Trial:
    """Measure once."""
    return dataclasses.replace(asked[0], state=COMPLETE, reports=((4, height(asked[0].values)),))


def falling_bowl(asked: Asked) -> Trial:
    """The same, measured four times as it falls to its value, and given up by the median."""
    trial, past = asked
    reports: Reports = ()
    for number in range(1, 5):
        value = height(trial.values) + (1 / number if number < 4 else 0)
        reports = (*reports, (number, value))
        if gives_up(past, reports) and number < 4:
            return dataclasses.replace(trial, state=PRUNED, reports=reports)
    return dataclasses.replace(trial, state=COMPLETE, reports=reports)
