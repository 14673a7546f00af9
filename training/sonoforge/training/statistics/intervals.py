"""Compute confidence intervals and tests, for independent answers and for images that come in groups.

They cover a proportion; a test against chance; any figure, by resampling groups; and two arms on the same images: their
difference, its test, and the smallest difference that the test could find.
"""

from collections.abc import Callable
from contextlib import suppress
from statistics import NormalDist
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.inference.adaptation import PRIOR_GROUPS, Z, design_effect
from sonoforge.training.statistics.results import Interval, Record

with suppress(ImportError):  # not in the base install, which validates without
    from scipy import optimize, stats

Labels = NDArray[np.int64]
Floats = NDArray[np.float64]

Truth = TypeVar("Truth", Labels, NDArray[np.bool_])
Figure = Callable[[Truth, Floats, Floats], Floats]
"""Maps the truth (N,), scores (N,) or (N, C) and weights (R, N) to R figures, like `classification.accuracies`."""

LEVEL, POWER = 0.05, 0.8
"""Significance level of the tests, and their power for a detectable difference."""
RESAMPLES = 1000
PERCENTILES = (2.5, 97.5)
_NODES, _NODE_WEIGHTS = np.polynomial.legendre.leggauss(20)
_COSINES = np.cos(np.pi / 12 * (_NODES + 1))  # of angles from 0 to 30 degrees, where Gauss's rule finds Owen's T


def wilson_interval(successes: float, trials: float) -> Interval:
    """Return Wilson's 95 % score interval of a proportion (JASA 22, 1927, p. 209); (nan, 0, 1) without trials.

    Both numbers may be fractions, for an effective number of trials.
    """
    if trials == 0:
        return Interval(value=float("nan"), low=0.0, high=1.0)
    share = successes / trials
    centre = share + Z * Z / (2 * trials)
    half = Z * np.sqrt(max(0.0, share * (1 - share)) / trials + Z * Z / (4 * trials * trials))
    scale = 1 + Z * Z / trials
    low, high = float((centre - half) / scale), float((centre + half) / scale)
    return Interval(value=share, low=max(0.0, low), high=min(1.0, high))


def wilson_by_group(hits: NDArray[np.bool_] | Floats, groups: Labels) -> Interval:
    """Return Wilson's 95 % interval of the share of ``hits`` (N,), which may be fractions, in ``groups`` (N,).

    Both counts are divided by the `design_effect`, as Rao & Scott (Biometrics 48, 1992) do for tests and
    Saha, Miller & Wang (Int. J. Biostat. 12, 2016) for this interval.  With single images it is Wilson's own.
    """
    if len(hits) == 0:
        return wilson_interval(0, 0)
    effect, _ = design_effect(hits, groups)
    return {**wilson_interval(float(hits.sum()) / effect, len(hits) / effect), "value": float(hits.mean())}


def group_weights(groups: Labels) -> Floats:
    """Return how often each image is drawn, (1 + R, N): once in row 0, then in draws of whole groups (N,)."""
    generator = np.random.default_rng(0)
    _, inverse = np.unique(groups, return_inverse=True)
    count = int(inverse.max()) + 1
    draws = generator.integers(0, count, (RESAMPLES, count))
    drawn = np.bincount((draws + count * np.arange(RESAMPLES)[:, None]).ravel(), minlength=count * RESAMPLES)
    return np.concatenate([np.ones((1, len(groups))), drawn.reshape(RESAMPLES, count)[:, inverse]])


def percentile_interval(figures: Floats) -> Interval:
    """Return a figure with its percentile 95 % interval, from its values (1 + R,) by the rows of `group_weights`.

    Draws that are nan are left out; the ends are nan if none is left.
    """
    known = figures[1:][~np.isnan(figures[1:])]
    low, high = np.percentile(known, PERCENTILES) if len(known) else (np.nan, np.nan)
    return Interval(value=float(figures[0]), low=float(low), high=float(high))


def group_bootstrap(figure: Figure[Truth], truth: Truth, scores: Floats, groups: Labels) -> Interval:
    """Return the percentile 95 % interval by resampling groups, not images (Field & Welsh, JRSS B 69, 2007)."""
    once, drawn = np.ones((1, len(truth))), group_weights(groups)[1:]
    return percentile_interval(np.concatenate([figure(truth, scores, weights) for weights in (once, drawn)]))


def exact_interval(successes: int, trials: int) -> Interval:
    """Return the exact 95 % interval of a share (Clopper & Pearson 1934); (nan, 0, 1) without trials."""
    if trials == 0:
        return Interval(value=float("nan"), low=0.0, high=1.0)
    low, high = stats.binomtest(successes, trials).proportion_ci(method="exact")
    return Interval(value=successes / trials, low=float(low), high=float(high))


def against_chance(successes: int, trials: int, chance: float) -> float:
    """Return the two-sided exact p value of the binomial test against ``chance``; 1 without trials."""
    return float(stats.binomtest(successes, trials, chance).pvalue) if trials else 1.0


def noticeable_share(trials: int, chance: float) -> float | None:
    """Return the smallest share above ``chance`` that `against_chance` detects at 5 % in 80 % of cases.

    Return None if there are too few trials to detect any.
    """
    above = range(int(chance * trials) + 1, trials + 1)
    least = next((k for k in above if against_chance(k, trials, chance) <= LEVEL), None)
    if least is None:
        return None
    return float(optimize.brentq(lambda share: stats.binom.sf(least - 1, trials, share) - POWER, chance, 1.0))


def auc_interval(
    auc: float, positives: Floats, negatives: Floats, observed: float = float("nan"), telling: float = 0.0
) -> tuple[float, float]:
    """Return Newcombe's 95 % score interval of an AUC (Statistics in Medicine 25, 2006, p. 559), for normal scores.

    The AUCs whose standard error, for normal scores of equal spread, does not rule out the observed one; it does not
    collapse at 0 and 1, where small samples often lie.

    Args:
        auc: The area, or the mean of K areas.
        positives: How many images of the kind there are, (K,).
        negatives: How many others, (K,).
        observed: The area's variance.  The formula's is multiplied by the ratio of this one to it, drawn to 1 as if
            `PRIOR_GROUPS` more groups had it, as few groups tell the variance where nearly all pairs are in order.
        telling: How many groups tell the variance.
    """

    def model(true: float) -> float:
        true = min(max(true, 1e-12), 1 - 1e-12)
        single = true * (1 - true)
        # Covariance of two pairs with a common image, by Owen's T (Annals of Math. Statistics 27, 1956) at 1 / sqrt(3)
        shared = single - float(_NODE_WEIGHTS @ np.exp(-0.5 * (NormalDist().inv_cdf(true) / _COSINES) ** 2)) / 12
        return float(np.mean((single + (positives + negatives - 2) * shared) / (positives * negatives)))

    known = 0.0 if np.isnan(observed) else telling
    ratio = ((known * observed / model(auc) if known else 0.0) + PRIOR_GROUPS) / (known + PRIOR_GROUPS)

    def farthest(end: float) -> float:  # by halving: what is not ruled out lies next to the observed AUC
        inside, outside = auc, end
        for _ in range(50):
            middle = (inside + outside) / 2
            held = (middle - auc) ** 2 <= Z * Z * ratio * model(middle)
            inside, outside = (middle, outside) if held else (inside, middle)
        return outside

    return farthest(0.0), farthest(1.0)


def paired_bootstrap(figure: Figure[Truth], truth: Truth, first: Floats, second: Floats, groups: Labels) -> Interval:
    """Return the difference ``second - first`` of two arms on the same images, resampled by the same groups."""
    weights = group_weights(groups)
    return percentile_interval(figure(truth, second, weights) - figure(truth, first, weights))


def sign_flip_test(first_correct: NDArray[np.bool_], second_correct: NDArray[np.bool_], groups: Labels) -> Record:
    """Test whether two arms are right equally often on the same images (N,), which come in groups (N,).

    If the arms were alike, each group's difference in correct images would be as likely to have the other sign (Fisher,
    The Design of Experiments, 1935, section 21; by block: Winkler et al., NeuroImage 123, 2015).  It is exact over all
    signs: the distribution of their sum is built group by group (Pagano & Tritchler, JASA 78, 1983). With one image per
    group it is McNemar's exact test; with many groups nearly Obuchowski's (Stat. Med. 17, 1998), in Yang, Sun &
    Hardin's form (Biometrical Journal 52, 2010).
    """
    differences = _group_differences(first_correct, second_correct, groups)
    reach = int(np.abs(differences).sum())
    law = np.zeros(2 * reach + 1)  # of the sums -reach..reach
    law[reach] = 1.0
    for step in np.abs(differences):
        law = (np.roll(law, step) + np.roll(law, -step)) / 2  # never over the ends, as reach is the sum of the steps
    sums = np.abs(np.arange(-reach, reach + 1))
    return {
        "first_only": int(np.sum(first_correct & ~second_correct)),
        "second_only": int(np.sum(~first_correct & second_correct)),
        "p_value": min(1.0, float(law[sums >= abs(int(differences.sum()))].sum())),
    }


def minimum_detectable_difference(
    first_correct: NDArray[np.bool_], second_correct: NDArray[np.bool_], groups: Labels
) -> float:
    """Return the smallest accuracy difference that `sign_flip_test` at `LEVEL` finds with probability `POWER`.

    This is Connor's sample-size formula (Biometrics 43, 1987), solved for the difference d, with groups for images:
    ``n d - 1 = z_level sqrt(q) + z_power sqrt(q - (n d)^2 / k)`` for n images in k groups.  q, the sum over groups of
    the squared difference in correct images, replaces the number of discordant images; they are equal with one image
    per group. The 1 is the continuity correction, because the test is exact (Fleiss, Levin & Paik, Statistical Methods
    for Rates and Proportions, 2003, chapter 13).  The result is nan if the arms differ in too few images.
    """
    differences = _group_differences(first_correct, second_correct, groups)
    images, count, reach = len(first_correct), len(np.unique(groups)), float(np.abs(differences).sum())
    squares = float((differences**2).sum())
    z_level = float(stats.norm.ppf(1 - LEVEL / 2))
    z_power = float(stats.norm.ppf(POWER))

    def excess(net: float) -> float:  # of a net gain in images
        spread = z_level * np.sqrt(squares) + z_power * np.sqrt(max(squares - net * net / count, 0.0))
        return float(net - 1 - spread)

    if excess(reach) < 0:
        return float("nan")
    return float(optimize.brentq(excess, 0.0, reach)) / images


def _group_differences(first: NDArray[np.bool_], second: NDArray[np.bool_], groups: Labels) -> Labels:
    """Return the second arm's surplus of correct answers in each group where the arms differ."""
    _, inverse = np.unique(groups, return_inverse=True)
    net = np.bincount(inverse, weights=second.astype(np.float64) - first)
    return np.asarray(np.rint(net[net != 0]).astype(np.int64))
