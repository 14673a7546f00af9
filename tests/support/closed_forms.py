"""Objectives of known optimum, in place of a GAN's training; workers of other processes import them by name."""

from __future__ import annotations

import math

from sonoforge.training.tuning.parameters import Parameter
from sonoforge.training.tuning.pruning import Pruning
from sonoforge.training.tuning.study import Asked, Ended

SPACE = (
    Parameter("optimiser", choices=("adam", "rmsprop")),
    Parameter("learning-rate", (), 1e-5, 1e-1, log=True),
    Parameter("beta1", low=0.0, high=0.9, optimiser="adam"),
    Parameter("batch", choices=(8, 16, 32, 64)),
)


def bowl(asked: Asked) -> Ended:
    """Lowest, 0, with Adam at a learning rate of 0.001, beta1 of 0.3 and batches of 16."""
    values = asked.values
    rate = (math.log10(float(values["learning-rate"])) + 3) ** 2
    other = (float(values["beta1"]) - 0.3) ** 2 if values["optimiser"] == "adam" else 1.0
    value = rate + 4 * other + 0.25 * abs(math.log2(float(values["batch"])) - 4)
    return Ended(asked.study, asked.number, "complete", value)


def falling_bowl(asked: Asked) -> Ended:
    """The same, measured four times as it falls to its value, and given up by the median."""
    value = bowl(asked).value
    assert value is not None
    pruning, reports = Pruning("median", asked.history), []
    for number in range(1, 5):
        reports.append((number, value + 1 / number))
        if pruning.report(*reports[-1]):
            return Ended(asked.study, asked.number, "pruned", None, tuple(reports), {"values": asked.values})
    return Ended(asked.study, asked.number, "complete", value, tuple(reports), {"values": asked.values})
