"""Which trainings of a search are given up early, by what those before them had at the same share of their budget.

Each rule is told what the trainings that ended before had measured, and what this one has so far.

- ``median``: after a half and three quarters of the budget, worse than the median of the trainings that came to their
  end, as Optuna's ``MedianPruner`` decides.
- ``halving``: after a quarter and a half, worse than the median of all that came so far (Li et al., "A System for
  Massively Parallel Hyperparameter Tuning", MLSys 2020, with a factor of two).
- ``trend``: after a half, where the power law through the last two measurements does not lead below the median of
  those that came to their end.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

MEASUREMENTS = 4
"""Of the metric in a training, at equal shares of its budget; the last at its end."""
LEAST = 4
"""Trainings that a median is of."""
RUNGS = (1, 2)
"""Measurements after which ``halving`` gives half of the trainings up."""

Reports = tuple[tuple[int, float], ...]
"""The measurements of a training so far: number, from 1, and the metric."""


class Past(NamedTuple):
    """What an ended training measured."""

    complete: bool  # whether it came to the end of its budget
    reports: Reports


def gives_up(rules: Sequence[str], past: Sequence[Past], own: Reports) -> bool:
    """Return whether any of these `RULES` gives a training up after its last measurement; ``own`` has one at least."""
    known = [(one.complete, dict(one.reports)) for one in past]
    return any(RULES[rule](known, own) for rule in rules)


_Known = Sequence[tuple[bool, Mapping[int, float]]]


def _never(past: _Known, own: Reports) -> bool:
    del past, own
    return False


def _median(past: _Known, own: Reports) -> bool:
    number = own[-1][0]
    complete = [reports for ended, reports in past if ended]
    values = [reports[number] for reports in complete if number in reports]
    if number < MEASUREMENTS // 2 or len(complete) < LEAST or not values:
        return False
    return min(value for _, value in own) > statistics.median(values)


def _halving(past: _Known, own: Reports) -> bool:
    number, value = own[-1]
    values = [reports[number] for _, reports in past if number in reports]
    return number in RUNGS and len(values) >= LEAST and value > statistics.median(values)


def _trend(past: _Known, own: Reports) -> bool:
    number, value = own[-1]
    before = dict(own).get(number - 1)
    ends = [reports[MEASUREMENTS] for _, reports in past if MEASUREMENTS in reports]
    if before is None or number < MEASUREMENTS // 2 or len(ends) < LEAST:
        return False
    return extrapolated(number - 1, before, value) > statistics.median(ends)


RULES = {"none": _never, "median": _median, "halving": _halving, "trend": _trend}


def extrapolated(number: int, before: float, after: float) -> float:
    """Return where the power law through measurements ``number`` and the next leads at the last one.

    KID, which has no bias, may be negative; then, and where it rises, the last value stands.
    """
    if not 0 < after < before:
        return after
    slope = math.log(after / before) / math.log((number + 1) / number)
    return float(after * (MEASUREMENTS / (number + 1)) ** slope)
