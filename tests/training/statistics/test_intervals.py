"""Intervals and tests, exact and by group, against closed forms and second implementations."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import optimize, stats

from clustered import BUSI, World, draw_answers, draw_scores, few_groups, over_few_groups, separation_for
from group_loops import Area, area_in_pairs, design_effect, group_sums, wilson_ends
from sonoforge.runtime.inference import adaptation
from sonoforge.training.statistics import intervals
from sonoforge.training.statistics.classification import auc_by_group, sensitivity
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


def single_auc(auc: float, positives: int, negatives: int) -> tuple[float, float]:
    return auc_interval(auc, np.array([positives]), np.array([negatives]))


def test_the_interval_of_an_auc_near_one_half_is_that_of_mann_and_whitney() -> None:
    """Variance of U under the null hypothesis, (m + n + 1) / (12 m n), for large numbers."""
    half = 1.96 * math.sqrt(10_001 / (12 * 4000 * 6000))
    assert single_auc(0.5, 4000, 6000) == pytest.approx((0.5 - half, 0.5 + half), abs=2e-4)


def test_the_interval_of_an_auc_at_the_ends_stays_open_to_one_side() -> None:
    assert single_auc(1.0, 10, 12)[1] == 1.0
    assert 0.7 < single_auc(1.0, 10, 12)[0] < single_auc(1.0, 100, 120)[0] < 1.0
    assert single_auc(0.0, 10, 12) == pytest.approx((0.0, 1 - single_auc(1.0, 10, 12)[0]))


@pytest.mark.parametrize("kinds", [1, 3])
@pytest.mark.parametrize("separation", [0.0, 1.5, 9.0])  # the last is separable
def test_the_interval_of_an_auc_by_group_equals_sums_over_pairs(kinds: int, separation: float) -> None:
    for seed in range(5):
        rng = np.random.default_rng(seed)
        groups = rng.integers(0, 14, 40)  # with images of several kinds
        labels = rng.integers(0, 3, 40)
        scores = (rng.normal(size=(40, 3)) + separation * np.eye(3)[labels]).round(1)  # with ties
        told = [(labels == c, scores[:, c]) for c in range(kinds)]
        found = auc_by_group(told, groups)
        loops = [area_in_pairs(own.tolist(), of.tolist(), groups.tolist()) for own, of in told]
        area = np.mean([one.area for one in loops])
        assert found["value"] == pytest.approx(area)

        def model(auc: float, loops: list[Area] = loops) -> float:
            """Chance that one image of the kind, or two of them, beat one other: normal scores of equal spread."""
            place = stats.norm.ppf(auc)
            both = stats.multivariate_normal.cdf([place, place], cov=[[1, 0.5], [0.5, 1]])
            total = 0.0
            for m, n in (one.counts for one in loops):
                total += (auc * (1 - auc) + (m - 1 + n - 1) * (both - auc * auc)) / (m * n) / len(loops)
            return float(total)

        errors = [sum(one.errors.get(g, 0.0) for one in loops) / kinds for g in range(14)]
        telling, observed = np.mean([one.telling for one in loops]), float(np.sum(np.square(errors)))
        ratio = (telling * observed / model(area) + 2) / (telling + 2) if 0 < area < 1 else 1.0

        def excess(auc: float, area: float = area, ratio: float = ratio) -> float:
            return (auc - area) ** 2 - 1.959963984540054**2 * ratio * model(auc)

        assert found["low"] == pytest.approx(optimize.brentq(excess, 0, min(area, 1 - 1e-9)), abs=1e-6)
        high = 1.0 if area == 1 else optimize.brentq(excess, area, 1)
        assert found["high"] == pytest.approx(high, abs=1e-6)


def test_the_area_of_separable_answers_keeps_an_end_below_one_that_rises_with_the_groups() -> None:
    ends = []
    for count in (10, 30, 200):
        positive = np.arange(count) % 2 == 0
        found = auc_by_group([(positive, positive.astype(float))], np.arange(count))
        assert (found["value"], found["high"]) == (1, 1)
        ends.append(found["low"])
    assert 0.5 < ends[0] < ends[1] < ends[2] < 1
    one = auc_by_group([(np.array([True, False, False]), np.array([1.0, 0.0, 0.2]))], np.array([0, 1, 1]))
    assert one["low"] < 0.3  # one group of either kind tells next to nothing
    assert math.isnan(auc_by_group([(np.ones(3, bool), np.arange(3.0))], np.arange(3))["value"])


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
def test_where_all_are_alike_a_group_counts_as_if_half_alike_and_a_single_one_as_one_image(outcome: bool) -> None:
    found = intervals.wilson_by_group(np.full(50, outcome), np.arange(50) // 5)
    assert found == pytest.approx(intervals.wilson_interval(50 / 3 if outcome else 0, 50 / 3))
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
    found = adaptation.design_effect(hits, groups)[0]
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


SETS = 2000
NOISE = 2.5 * math.sqrt(0.93 * 0.07 / SETS)


@pytest.mark.slow
@over_few_groups
def test_the_interval_of_an_auc_covers_with_few_groups(count: int, correlation: float, prevalence: float) -> None:
    """Misses lie on both sides, and no more of them flatter than the other way round."""
    for auc in (0.5, 0.7, 0.8, 0.9, 0.95, 0.98):
        rng, separation = np.random.default_rng(3), separation_for(auc)
        found = np.array([auc_ends(separation, correlation, rng, few_groups(count), prevalence) for _ in range(SETS)])
        above, below = (found[:, 0] > auc).mean(), (found[:, 1] < auc).mean()
        assert 0.93 - NOISE < 1 - above - below < 0.97 + NOISE, f"AUC {auc}"
        assert above < 0.04 + NOISE
        assert below < 0.045 + NOISE


def auc_ends(
    separation: float, correlation: float, rng: np.random.Generator, sizes: NDArray[np.int64], prevalence: float
) -> tuple[float, float]:
    """The interval of one data set."""
    drawn = draw_scores((separation, separation), correlation, rng, sizes, prevalence)
    found = auc_by_group([(drawn.positive, drawn.arms[0])], drawn.groups)
    return found["low"], found["high"]


@pytest.mark.slow
@pytest.mark.parametrize("correlation", [0.0, 0.3])
@pytest.mark.parametrize("count", [30, 60, 200])
def test_the_interval_of_accuracy_and_sensitivity_covers_with_few_groups(count: int, correlation: float) -> None:
    """Half of the groups belong to the class whose sensitivity is measured."""
    for share in (0.5, 0.7, 0.8, 0.9, 0.95, 0.98):
        rng, held = np.random.default_rng(4), np.zeros(2)
        world = World(few_groups(count), correlation, slope=0)
        for _ in range(SETS):
            right, groups = draw_answers(world, share, rng)
            labels = groups % 2
            for i, own in enumerate(
                (
                    intervals.wilson_by_group(right, groups),
                    sensitivity(labels, np.where(right, labels, 1 - labels), groups, 1),
                )
            ):
                held[i] += own["low"] <= share <= own["high"]
        assert (held / SETS > 0.93 - NOISE).all() and (held / SETS < 0.98 + NOISE).all(), f"share {share}"
