"""Confidence intervals: of a proportion, and by resampling groups of images that are not independent of each other."""

from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from sonoforge.training.statistics.results import Interval

Labels = NDArray[np.int64]
Floats = NDArray[np.float64]

Truth = TypeVar("Truth", Labels, NDArray[np.bool_])
Figure = Callable[[Truth, Floats, Floats], Floats]
"""From the truth (N,), scores (N,) or (N, C) and weights (R, N) to R figures; such as `classification.accuracies`."""

RESAMPLES = 1000
PERCENTILES = (2.5, 97.5)
PRIOR_GROUPS = 2
"""Two errors more, as in Agresti & Coull's interval (Am. Stat. 52, 1998); chosen by `tests/benchmarks/by_group.py`."""


def wilson_interval(successes: float, trials: float) -> Interval:
    """Wilson's 95 % score interval of a proportion (Wilson, JASA 22, 1927, p. 209); (nan, 0, 1) without trials.

    For independent trials; both numbers may be fractions, for an effective number of trials.
    """
    if trials == 0:
        return Interval(value=float("nan"), low=0.0, high=1.0)
    z = float(stats.norm.ppf(0.975))
    share = successes / trials
    centre = share + z * z / (2 * trials)
    half = z * np.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    low, high = float((centre - half) / scale), float((centre + half) / scale)
    return Interval(value=share, low=max(0.0, low), high=min(1.0, high))


def wilson_by_group(hits: NDArray[np.bool_], groups: Labels) -> Interval:
    """Wilson's 95 % interval of the share of ``hits`` (N,) among images that come in ``groups`` (N,).

    Both counts are divided by the `design_effect`, as Rao & Scott (Biometrics 48, 1992) do for tests and
    Saha, Miller & Wang (Int. J. Biostat. 12, 2016) for this interval.  Wilson's own where no group has two images.
    """
    if len(hits) == 0:
        return wilson_interval(0, 0)
    effect = design_effect(hits, groups)
    return {**wilson_interval(float(hits.sum()) / effect, len(hits) / effect), "value": float(hits.mean())}


def design_effect(hits: NDArray[np.bool_], groups: Labels) -> float:
    """Return how many images (N,) of these groups tell as much about a share as one independent image; at least 1.

    The variance of the share as a ratio over groups, by that of independent images (Rao & Scott 1992).
    A few groups estimate it badly: where hardly any group has an error it is far too small too often.  So it counts
    `PRIOR_GROUPS` further groups of the rarer outcome that bear it wholly, whose design effect is the largest that
    one probability for all groups allows, sum n^2 / sum n over the groups' sizes n.
    """
    _, inverse = np.unique(groups, return_inverse=True)
    sizes = np.bincount(inverse).astype(np.float64)
    inside = np.bincount(inverse, weights=hits)
    images, count, share = len(hits), len(sizes), float(np.mean(hits))
    whole = float((sizes**2).sum() / images)
    rarer = min(int((inside > 0).sum()), int((inside < sizes).sum()))
    if rarer == 0 or count == 1:
        return whole
    between = float(((inside - share * sizes) ** 2).sum()) * count / (count - 1)
    independent = share * (1 - share) * images * images / (images - 1)
    return max(1.0, (rarer * between / independent + PRIOR_GROUPS * whole) / (rarer + PRIOR_GROUPS))


def group_weights(groups: Labels) -> Floats:
    """Count how often each image is among the images as they are, once, and in each draw of whole groups (N,).

    Returns:
        (1 + RESAMPLES, N), whole numbers; the groups are drawn with replacement, as many as there are.
    """
    generator = np.random.default_rng(0)
    _, inverse = np.unique(groups, return_inverse=True)
    count = int(inverse.max()) + 1
    draws = generator.integers(0, count, (RESAMPLES, count))
    drawn = np.bincount((draws + count * np.arange(RESAMPLES)[:, None]).ravel(), minlength=count * RESAMPLES)
    return np.concatenate([np.ones((1, len(groups))), drawn.reshape(RESAMPLES, count)[:, inverse]])


def percentile_interval(figures: Floats) -> Interval:
    """Return a figure with its percentile 95 % interval, from its values (1 + R,) by the rows of `group_weights`.

    Draws that are nan are left out; ends are nan where no draw has a value.
    """
    known = figures[1:][~np.isnan(figures[1:])]
    low, high = np.percentile(known, PERCENTILES) if len(known) else (np.nan, np.nan)
    return Interval(value=float(figures[0]), low=float(low), high=float(high))


def group_bootstrap(figure: Figure[Truth], truth: Truth, scores: Floats, groups: Labels) -> Interval:
    """Percentile 95 % interval by resampling groups, not images (Field & Welsh, JRSS B 69, 2007)."""
    once, drawn = np.ones((1, len(truth))), group_weights(groups)[1:]
    return percentile_interval(np.concatenate([figure(truth, scores, weights) for weights in (once, drawn)]))
