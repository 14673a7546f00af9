"""Shares of independent answers against chance: exact intervals, exact tests, and what a test would notice."""

from scipy import optimize, stats

from sonoforge.training.statistics.results import Interval

LEVEL = 0.05
POWER = 0.8


def exact_interval(successes: int, trials: int) -> Interval:
    """Exact 95 % interval of a share (Clopper & Pearson, Biometrika 26, 1934); (nan, 0, 1) without trials."""
    if trials == 0:
        return Interval(value=float("nan"), low=0.0, high=1.0)
    low, high = stats.binomtest(successes, trials).proportion_ci(method="exact")
    return Interval(value=successes / trials, low=float(low), high=float(high))


def against_chance(successes: int, trials: int, chance: float) -> float:
    """Two-sided exact p value of the binomial test against ``chance``; 1 without trials."""
    return float(stats.binomtest(successes, trials, chance).pvalue) if trials else 1.0


def noticeable_share(trials: int, chance: float) -> float | None:
    """Return the smallest share above ``chance`` that `against_chance` notices at 5 % in 80 % of cases.

    None where the trials are too few to notice any, even if all are successes.
    """
    above = range(int(chance * trials) + 1, trials + 1)
    least = next((k for k in above if against_chance(k, trials, chance) <= LEVEL), None)
    if least is None:
        return None
    return float(optimize.brentq(lambda share: stats.binom.sf(least - 1, trials, share) - POWER, chance, 1.0))
