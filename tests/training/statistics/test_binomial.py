"""Exact intervals and tests against closed forms and sums of the binomial law."""

from __future__ import annotations

import math

import pytest
from scipy import stats

from sonoforge.training.statistics.intervals import against_chance, exact_interval, noticeable_share


def test_exact_intervals_are_clopper_and_pearsons() -> None:
    assert list(exact_interval(0, 12).values()) == pytest.approx([0, 0, 1 - 0.025 ** (1 / 12)])
    assert list(exact_interval(12, 12).values()) == pytest.approx([1, 0.025 ** (1 / 12), 1])
    found = exact_interval(9, 30)
    assert found["low"] == pytest.approx(stats.beta.ppf(0.025, 9, 22))
    assert found["high"] == pytest.approx(stats.beta.ppf(0.975, 10, 21))
    # Each end is the share at which so many successes, or so few, have a chance of 2.5 %.
    assert stats.binom.sf(8, 30, found["low"]) == pytest.approx(0.025)
    assert stats.binom.cdf(9, 30, found["high"]) == pytest.approx(0.025)
    assert math.isnan(exact_interval(0, 0)["value"])


def test_against_chance_sums_both_tails() -> None:
    assert against_chance(15, 20, 0.5) == pytest.approx(2 * sum(math.comb(20, k) for k in range(15, 21)) / 2**20)
    assert against_chance(0, 0, 0.5) == 1


def test_the_noticeable_share_is_noticed_in_four_of_five_cases() -> None:
    share = noticeable_share(60, 0.5)
    assert share is not None
    noticed = sum(stats.binom.pmf(k, 60, share) for k in range(31, 61) if against_chance(k, 60, 0.5) <= 0.05)
    assert noticed == pytest.approx(0.8)
    assert noticeable_share(5, 0.5) is None  # five of five right have a chance of 1 in 16
