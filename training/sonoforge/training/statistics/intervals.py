"""Confidence intervals: of a proportion, and by resampling groups of images that are not independent of each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Labels = NDArray[np.int64]
Floats = NDArray[np.float64]

RESAMPLES = 1000
PERCENTILES = (2.5, 97.5)


class Interval(NamedTuple):
    """An estimate with the ends of its confidence interval."""

    value: float
    low: float
    high: float


def wilson_interval(successes: int, trials: int) -> Interval:
    """Wilson's 95 % score interval of a proportion (Wilson, JASA 22, 1927, p. 209); (nan, 0, 1) without trials."""
    if trials == 0:
        return Interval(float("nan"), 0.0, 1.0)
    z = float(stats.norm.ppf(0.975))
    share = successes / trials
    centre = share + z * z / (2 * trials)
    half = z * np.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    return Interval(share, max(0.0, float((centre - half) / scale)), min(1.0, float((centre + half) / scale)))


def resample_groups(groups: Labels) -> list[Labels]:
    """Draw whole groups (N,) with replacement; each of the `RESAMPLES` entries holds image indices."""
    generator = np.random.default_rng(0)
    _, inverse = np.unique(groups, return_inverse=True)
    order = np.argsort(inverse, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(inverse))[:-1])
    draws = generator.integers(0, len(members), (RESAMPLES, len(members)))
    return [np.concatenate([members[i] for i in draw]).astype(np.int64) for draw in draws]


def group_bootstrap(
    statistic: Callable[[Labels, Floats], float], labels: Labels, probabilities: Floats, groups: Labels
) -> Interval:
    """Percentile 95 % interval by resampling groups, not images (Field & Welsh, JRSS B 69, 2007)."""
    drawn = [statistic(labels[i], probabilities[i]) for i in resample_groups(groups)]
    low, high = np.nanpercentile(drawn, PERCENTILES)
    return Interval(statistic(labels, probabilities), float(low), float(high))
