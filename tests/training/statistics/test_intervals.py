"""Intervals and tests, exact and by group, against closed forms and second implementations."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from clustered import BUSI, World, draw_answers
from group_loops import design_effect, group_sums, wilson_ends
from sonoforge.training.statistics import intervals
from sonoforge.training.statistics.intervals import (
    against_chance,
    auc_interval,
    exact_interval,
    minimum_detectable_difference,
    noticeable_share,
    sign_flip_test,
)


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


def test_the_interval_of_an_auc_near_one_half_is_that_of_mann_and_whitney() -> None:
    """Variance of U under the null hypothesis, (m + n + 1) / (12 m n), for large numbers."""
    half = 1.96 * math.sqrt(10_001 / (12 * 4000 * 6000))
    assert auc_interval(0.5, 4000, 6000) == pytest.approx((0.5 - half, 0.5 + half), abs=2e-4)


def test_the_interval_of_an_auc_at_the_ends_stays_open_to_one_side() -> None:
    assert auc_interval(1.0, 10, 12)[1] == 1.0
    assert 0.7 < auc_interval(1.0, 10, 12)[0] < auc_interval(1.0, 100, 120)[0] < 1.0
    assert auc_interval(0.0, 10, 12) == pytest.approx((0.0, 1 - auc_interval(1.0, 10, 12)[0]))


def test_against_chance_sums_both_tails() -> None:
    assert against_chance(15, 20, 0.5) == pytest.approx(2 * sum(math.comb(20, k) for k in range(15, 21)) / 2**20)
    assert against_chance(0, 0, 0.5) == 1


def test_the_noticeable_share_is_noticed_in_four_of_five_cases() -> None:
    share = noticeable_share(60, 0.5)
    assert share is not None
    noticed = sum(stats.binom.pmf(k, 60, share) for k in range(31, 61) if against_chance(k, 60, 0.5) <= 0.05)
    assert noticed == pytest.approx(0.8)
    assert noticeable_share(5, 0.5) is None  # five of five right have a chance of 1 in 16


def drawn(seed: int, images: int, groups: int, share: float) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Answers of which those of a group are often alike."""
    rng = np.random.default_rng(seed)
    group = rng.integers(0, groups, images)
    common = rng.random(groups) < share
    return np.where(rng.random(images) < 0.7, common[group], rng.random(images) < share), group


# ---- Wilson's interval by group


@pytest.mark.parametrize(("images", "groups", "share"), [(60, 20, 0.7), (200, 120, 0.95), (9, 4, 0.5), (40, 39, 0.9)])
def test_the_interval_by_group_equals_plain_loops(images: int, groups: int, share: float) -> None:
    for seed in range(20):
        hits, group = drawn(seed, images, groups, share)
        found = intervals.wilson_by_group(hits, group)
        low, high = wilson_ends(hits.tolist(), group.tolist())
        assert found == pytest.approx({"value": hits.mean(), "low": low, "high": high}, abs=1e-9)
        assert 0 <= found["low"] <= found["value"] <= found["high"] <= 1


@pytest.mark.parametrize(("hits", "images"), [(0, 12), (12, 12), (1, 12), (7, 12), (1, 1)])
def test_single_images_have_wilsons_own_interval(hits: int, images: int) -> None:
    found = intervals.wilson_by_group(np.arange(images) < hits, np.arange(images) * 7)
    assert found == pytest.approx(intervals.wilson_interval(hits, images), abs=1e-12)


def test_without_images_nothing_is_known() -> None:
    value, low, high = intervals.wilson_by_group(np.zeros(0, bool), np.zeros(0, np.int64)).values()
    assert np.isnan(value) and (low, high) == (0, 1)


@pytest.mark.parametrize("outcome", [True, False])
def test_where_all_are_alike_a_group_counts_as_one_image(outcome: bool) -> None:
    found = intervals.wilson_by_group(np.full(50, outcome), np.arange(50) // 5)
    assert found == pytest.approx(intervals.wilson_interval(10 if outcome else 0, 10))
    found = intervals.wilson_by_group(np.array([True, False, True]), np.zeros(3, np.int64))  # all of one group
    assert found == pytest.approx(intervals.wilson_interval(2 / 3, 1))


def test_the_published_example_of_families() -> None:
    # Lung disease among siblings (Liang, Zeger & Qaqish, JRSS B 54, 1992): affected of 1, 2, 3, 4 and 6 in a family.
    # R's ratesci 1.0 (clusterpci, after Saha, Miller & Wang 2016) prints effect 1.349133 by another estimator, the
    # analysis of variance, and for it the interval 0.2284814 to 0.3728302.
    families = {1: (36, 12), 2: (15, 7, 1), 3: (5, 7, 3, 2), 4: (3, 3, 1), 6: (1, 0, 1, 1, 1, 0, 1)}
    listed = [
        (size, hits) for size, counts in families.items() for hits, count in enumerate(counts) for _ in range(count)
    ]
    hits = np.array([place < affected for size, affected in listed for place in range(size)])
    groups = np.repeat(np.arange(100), [size for size, _ in listed])
    assert (hits.sum(), len(hits)) == (60, 203)
    _, low, high = intervals.wilson_interval(60 / 1.349133, 203 / 1.349133).values()
    assert (low, high) == pytest.approx((0.2284814, 0.3728302), abs=1e-7)
    # Ours also counts that larger families are affected more often, which no common correlation explains.
    found = intervals.design_effect(hits, groups)
    assert found == pytest.approx(design_effect(hits.tolist(), groups.tolist()))
    assert 1.349133 < found < sum(size * size for size, _ in listed) / 203


# ---- the sign-flip test


def pairs(seed: int, groups: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(groups), rng.integers(1, 6, groups))
    return rng.random(len(group)) < 0.6, rng.random(len(group)) < 0.75, rng.permutation(group)


@pytest.mark.parametrize("seed", range(8))
def test_the_exact_p_value_is_scipys_over_all_signs(seed: int) -> None:
    first, second, group = pairs(seed, 11)
    sums = np.array(group_sums(first, second, group))
    found = sign_flip_test(first, second, group)
    expected = stats.permutation_test(
        (sums, np.zeros_like(sums)), lambda a, b: abs(np.sum(a - b)), permutation_type="samples",
        alternative="greater", n_resamples=np.inf,
    )  # fmt: skip
    assert found["p_value"] == pytest.approx(expected.pvalue, abs=1e-12)
    assert (found["first_only"], found["second_only"]) == ((first & ~second).sum(), (~first & second).sum())


def test_single_images_have_mcnemars_exact_test() -> None:
    first = np.array([True] * 10 + [False] * 2 + [True] * 50)
    second = np.array([False] * 10 + [True] * 2 + [True] * 50)
    found = sign_flip_test(first, second, np.arange(62))
    assert tuple(found.values()) == (10, 2, pytest.approx(stats.binomtest(10, 12).pvalue))
    assert tuple(sign_flip_test(first, first, np.arange(62)).values()) == (0, 0, 1.0)


def test_images_of_one_group_are_one_piece_of_evidence() -> None:
    first, second = np.zeros(20, bool), np.ones(20, bool)
    assert sign_flip_test(first, second, np.zeros(20, np.int64))["p_value"] == 1.0
    assert sign_flip_test(first, second, np.arange(20) // 4)["p_value"] == pytest.approx(2 / 2**5)


# ---- the minimum detectable difference


def test_the_detectable_difference_solves_connors_formula() -> None:
    first, second, group = pairs(5, 300)
    found = minimum_detectable_difference(first, second, group)
    sums = np.array(group_sums(first, second, group))
    q, net = (sums**2).sum(), found * len(first)
    assert net - 1 == pytest.approx(1.959964 * q**0.5 + 0.841621 * (q - net**2 / 300) ** 0.5, rel=1e-6)


@pytest.mark.parametrize("differing", [0, 1, 5])
def test_too_few_differing_images_state_no_detectable_difference(differing: int) -> None:
    second = np.ones(100, bool)
    first = second.copy()
    first[:differing] = False
    assert np.isnan(minimum_detectable_difference(first, second, np.arange(100)))
    assert intervals.LEVEL < 2 / 2**5  # five images all of one kind are not significant: nothing could be found


# ---- what they promise, by simulation; `training/studies/intervals/by_group.py` prints the whole table


def test_intervals_by_group_cover_and_those_by_image_do_not() -> None:
    world, rng = World(BUSI, correlation=0.9, slope=-1), np.random.default_rng(0)
    true, held = world.mean_share(0.95), np.zeros(2)
    for _ in range(600):
        correct, group = draw_answers(world, 0.95, rng)
        for kind, own in enumerate((group, np.arange(len(group)))):
            _, low, high = intervals.wilson_by_group(correct, own).values()
            held[kind] += low <= true <= high
    assert 0.93 < held[0] / 600 < 0.97
    assert held[1] / 600 < 0.90
