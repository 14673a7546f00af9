"""Two arms on the same images: the difference, its test, and the smallest difference the test could find."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from sonoforge.training.statistics.intervals import PERCENTILES, Floats, Interval, Labels, resample_groups

POWER = 0.8
LEVEL = 0.05


def paired_bootstrap(
    statistic: Callable[[Labels, Floats], float],
    labels: Labels,
    first: Floats,
    second: Floats,
    groups: Labels,
) -> Interval:
    """Difference ``second - first`` of two arms on the same images, both resampled by the same groups."""
    drawn = [statistic(labels[i], second[i]) - statistic(labels[i], first[i]) for i in resample_groups(groups)]
    low, high = np.nanpercentile(drawn, PERCENTILES)
    return Interval(statistic(labels, second) - statistic(labels, first), float(low), float(high))


class McNemar(NamedTuple):
    """Images that only the first arm, or only the second, got right; the exact two-sided p value."""

    first_only: int
    second_only: int
    p_value: float


def mcnemar_exact(first_correct: NDArray[np.bool_], second_correct: NDArray[np.bool_]) -> McNemar:
    """McNemar's test on paired predictions with the exact binomial law (McNemar 1947; Fagerland 2013)."""
    first_only = int(np.sum(first_correct & ~second_correct))
    second_only = int(np.sum(~first_correct & second_correct))
    discordant = first_only + second_only
    p_value = float(stats.binomtest(first_only, discordant, 0.5).pvalue) if discordant else 1.0
    return McNemar(first_only, second_only, p_value)


def minimum_detectable_difference(images: int, discordant_share: float) -> float:
    """Smallest accuracy difference that McNemar's test at `LEVEL` would find with probability `POWER`, 0..1.

    Solves Connor's sample-size formula (Biometrics 43, 1987) for the difference:
    ``n d^2 = (z_level sqrt(q) + z_power sqrt(q - d^2))^2`` with q the share of discordant pairs.
    """
    if images == 0 or discordant_share <= 0:
        return float("nan")
    z_level = float(stats.norm.ppf(1 - LEVEL / 2))
    z_power = float(stats.norm.ppf(POWER))

    def excess(difference: float) -> float:
        spread = z_level * np.sqrt(discordant_share)
        spread += z_power * np.sqrt(max(discordant_share - difference**2, 0.0))
        return float(np.sqrt(images) * difference - spread)

    ceiling = float(np.sqrt(discordant_share))
    if excess(ceiling) < 0:
        return float("nan")
    return float(optimize.brentq(excess, 0.0, ceiling))
