"""Which trainings of a search are given up early, by what those before them had at the same share of their budget.

Halving: Li et al., "A System for Massively Parallel Hyperparameter Tuning", MLSys 2020, with a factor of two: the
better half goes on after a quarter and a half of the budget.  Trend: after a half, a training goes on if the power law
through its last two measurements leads below the median of those that came to their end.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sonoforge.training.trials.training import MEASUREMENTS, Reports

PROXIES = ("halving", "trend")
RUNGS = (1, 2)  # measurements after which half of the trainings are given up
LEAST = 4  # trainings that a median is of


class Bars(NamedTuple):
    """What a training has to be better than; numbers that are not there hold nobody up."""

    rungs: Mapping[int, float] = {}  # by number of the measurement
    end: float | None = None  # where the trend has to lead


def bars(proxies: Sequence[str], past: Sequence[Reports]) -> Bars:
    """Set the bars for a training.

    Args:
        proxies: Of `PROXIES`.
        past: What the trainings before it have measured.
    """
    rungs = {}
    if "halving" in proxies:
        for number in RUNGS:
            found = [dict(reports)[number] for reports in past if number in dict(reports)]
            if len(found) >= LEAST:
                rungs[number] = statistics.median(found)
    ends = [dict(reports)[MEASUREMENTS] for reports in past if MEASUREMENTS in dict(reports)]
    end = statistics.median(ends) if "trend" in proxies and len(ends) >= LEAST else None
    return Bars(rungs, end)


class EarlyStopping:
    """Judges one training, measurement by measurement."""

    def __init__(self, own: Bars) -> None:
        self._bars = own
        self._reports: dict[int, float] = {}

    def __call__(self, number: int, value: float) -> bool:
        """Note a measurement, and return whether the training is to be given up."""
        self._reports[number] = value
        bar = self._bars.rungs.get(number)
        if bar is not None and value > bar:
            return True
        before = self._reports.get(number - 1)
        if self._bars.end is None or before is None or number < MEASUREMENTS // 2:
            return False
        return extrapolated(number - 1, before, value) > self._bars.end


def extrapolated(number: int, before: float, after: float) -> float:
    """Return where the power law through measurements ``number`` and the next leads at the last one.

    KID, which has no bias, may be negative; then, and where it rises, the last value stands.
    """
    if not 0 < after < before:
        return after
    slope = math.log(after / before) / math.log((number + 1) / number)
    return float(after * (MEASUREMENTS / (number + 1)) ** slope)
