"""Sensitivity at fixed specificity and net benefit, by hand and by the normal law; coverage of intervals (slow)."""

from __future__ import annotations

import math

import numpy as np
import pytest

from clustered import (
    draw_scores,
    few_groups,
    over_few_groups,
    posterior,
    separation_for,
    true_net_benefit,
    true_sensitivity,
)
from group_loops import design_effect, wilson_ends
from sonoforge.training.statistics.one_against_rest import (
    SPECIFICITIES,
    THRESHOLDS,
    decision_curve,
    net_benefit,
    operating_points,
    sensitivities,
    sensitivity_differences,
)


def by_loops(positive: np.ndarray, scores: np.ndarray, folds: np.ndarray, aim: float) -> np.ndarray:
    """Which images are called, image by image."""
    answers = []
    for own, score in zip(folds, scores, strict=True):
        others = sorted(scores[(folds != own) & ~positive])
        answers.append(score > next((t for t in others if np.mean(np.array(others) <= t) >= aim), math.inf))
    return np.array(answers)


@pytest.mark.parametrize("seed", range(4))
def test_figures_equal_plain_loops_also_with_ties(seed: int) -> None:
    rng = np.random.default_rng(seed)
    positive, folds = rng.random(120) < 0.3, rng.integers(0, 5, 120)
    scores = (rng.normal(size=120) + positive).round(1)
    once = sensitivities(positive, scores, folds, np.ones((1, 120)))[0]
    for at, point in zip(once, operating_points(positive, scores, folds, np.arange(120)), strict=True):
        calls = by_loops(positive, scores, folds, point["aim"])
        assert point["sensitivity"]["value"] == pytest.approx(calls[positive].mean()) == at
        assert point["specificity"]["value"] == pytest.approx(1 - calls[~positive].mean())


@pytest.mark.parametrize("count", [20, 60, 300])
def test_the_interval_of_a_sensitivity_adds_that_of_the_threshold(count: int) -> None:
    rng = np.random.default_rng(count)
    groups = np.sort(rng.integers(0, count, count))  # single images, and up to four alike
    positive, folds, chosen = groups % 3 == 0, groups % 5, rng.random(count) < 0.7
    scores = (rng.normal(size=count)[groups] + rng.normal(size=count) + positive).round(1)
    for counted in (np.ones(count, bool), chosen):
        for point in operating_points(positive, scores, folds, groups, counted):
            aim, calls = point["aim"], by_loops(positive, scores, folds, point["aim"])
            found, spared = positive & counted, ~positive & counted
            own, low, high = point["sensitivity"].values()
            others = design_effect((~calls[~positive]).tolist(), groups[~positive].tolist())
            slack = 1.959963984540054 * math.sqrt(aim * (1 - aim) * others / (~positive).sum())
            most, least = (by_loops(positive, scores, folds, at)[found].mean() for at in (aim - slack, aim + slack))
            below, above = wilson_ends(calls[found].tolist(), groups[found].tolist())
            assert low == pytest.approx(max(0, own - math.hypot(own - below, own - least)), abs=1e-9)
            assert high == pytest.approx(min(1, own + math.hypot(above - own, most - own)), abs=1e-9)
            ends = wilson_ends((~calls[spared]).tolist(), groups[spared].tolist())
            assert (point["specificity"]["low"], point["specificity"]["high"]) == pytest.approx(ends, abs=1e-9)


@pytest.mark.parametrize(
    ("others", "told"), [(8, [False, False]), (34, [False, False]), (60, [True, False]), (80, [True, True])]
)
def test_few_images_of_the_rest_leave_the_sensitivity_open(others: int, told: list[bool]) -> None:
    """The highest of n scores lies below the quantile q of all with a chance of q^n: 3 % for q = .9 and n = 34."""
    positive = np.arange(others + 100) < 100
    scores = positive + np.random.default_rng(0).random(len(positive))
    points = operating_points(positive, scores, np.arange(len(positive)) % 10, np.arange(len(positive)))
    ends = [point["sensitivity"]["low"] for point in points]
    assert [point["sensitivity"]["value"] for point in points] == [1, 1]
    assert [low > 0.9 for low in ends] == told
    assert [low == 0 for low in ends] == [not known for known in told]


SETS = 1000
NOISE = 2.5 * math.sqrt(0.93 * 0.07 / SETS)


@pytest.mark.slow
@over_few_groups
def test_the_interval_at_a_fixed_specificity_covers(count: int, correlation: float, prevalence: float) -> None:
    """Far more than 95 % where few images leave the threshold nearly free; hardly any interval flatters."""
    for auc in (0.7, 0.8, 0.9, 0.95, 0.98):
        rng, separation, missed = np.random.default_rng(5), separation_for(auc), np.zeros((2, 2))
        for _ in range(SETS):
            drawn = draw_scores((separation, separation), correlation, rng, few_groups(count), prevalence)
            for i, point in enumerate(operating_points(drawn.positive, drawn.arms[0], drawn.folds, drawn.groups)):
                true, own = true_sensitivity(separation, point["aim"]), point["sensitivity"]
                missed[i] += own["low"] > true, own["high"] < true
        assert (missed.sum(axis=1) / SETS < 0.07 + NOISE).all(), f"AUC {auc}"
        assert (missed[:, 0] / SETS < 0.025 + NOISE).all(), f"AUC {auc}"


def test_a_weight_counts_like_so_many_images() -> None:
    rng = np.random.default_rng(7)
    positive, folds = rng.random(60) < 0.4, rng.integers(0, 3, 60)
    scores, weights = rng.normal(size=60) + positive, rng.integers(0, 4, 60)
    repeated = [np.repeat(part, weights) for part in (positive, scores, folds)]
    once = sensitivities(*repeated, np.ones((1, weights.sum())))
    assert np.allclose(once, sensitivities(positive, scores, folds, weights[None].astype(float)))


def test_no_threshold_is_chosen_on_the_images_that_it_is_measured_on() -> None:
    rng = np.random.default_rng(8)
    positive, folds = rng.random(200) < 0.3, np.arange(200) % 4
    scores = rng.normal(size=200) + positive
    lifted = np.where(folds == 0, scores + 100, scores)  # every image of fold 0 is above the others' thresholds
    found = operating_points(positive, lifted, folds, np.arange(200))[0]["specificity"]["value"]
    # Chosen on fold 0 itself, nine tenths of its images that are not of the class would be spared.
    assert found == pytest.approx(1 - np.mean(folds[~positive] == 0))


def test_many_images_give_the_sensitivity_of_the_normal_law() -> None:
    drawn = draw_scores((2.0, 2.5), 0.0, np.random.default_rng(9), np.ones(40_000, np.int64))
    for scores, separation in zip(drawn.arms, (2.0, 2.5), strict=True):
        for point in operating_points(drawn.positive, scores, drawn.folds, drawn.groups):
            assert point["sensitivity"]["value"] == pytest.approx(true_sensitivity(separation, point["aim"]), abs=0.012)
            assert point["specificity"]["value"] == pytest.approx(point["aim"], abs=0.005)


def test_intervals_hold_their_value_and_differences_are_paired() -> None:
    drawn = draw_scores((1.5, 2.5), 0.5, np.random.default_rng(10))
    points = operating_points(drawn.positive, drawn.arms[0], drawn.folds, drawn.groups)
    assert [point["aim"] for point in points] == list(SPECIFICITIES)
    for point in points:
        assert point["sensitivity"]["low"] < point["sensitivity"]["value"] < point["sensitivity"]["high"]
    others = operating_points(drawn.positive, drawn.arms[1], drawn.folds, drawn.groups)
    both = (drawn.folds, drawn.folds)
    changes = sensitivity_differences(drawn.positive, drawn.arms, both, drawn.groups)
    for change, first, second in zip(changes, points, others, strict=True):
        assert change["value"] == pytest.approx(second["sensitivity"]["value"] - first["sensitivity"]["value"])
        assert change["low"] > 0
    same = sensitivity_differences(drawn.positive, (drawn.arms[0],) * 2, both, drawn.groups)
    assert same == [{"value": 0, "low": 0, "high": 0}] * 2


def test_without_other_images_nothing_can_be_called() -> None:
    for point in operating_points(np.ones(4, bool), np.arange(4.0), np.arange(4), np.arange(4)):
        assert point["sensitivity"]["value"] == 0
        assert np.isnan(point["specificity"]["value"])
    assert sensitivities(np.ones(4, bool), np.arange(4.0), np.arange(4), np.ones((1, 4))).tolist() == [[0, 0]]


def once(count: int) -> np.ndarray:
    return np.ones((1, count))


def test_net_benefit_by_hand() -> None:
    # Acting from 20 % on: 3 cases found, 2 needless acts at odds of 1 to 4, 10 images.
    positive = np.array([True] * 4 + [False] * 6)
    probabilities = np.array([0.9, 0.3, 0.2, 0.1, 0.8, 0.25, 0.19, 0.1, 0.05, 0.0])
    found = net_benefit(positive, probabilities, once(10))[0]
    assert found[THRESHOLDS == 0.2] == pytest.approx((3 - 2 / 4) / 10)
    assert found[THRESHOLDS == 0.5] == pytest.approx((1 - 1) / 10)


def test_perfect_useless_and_unconditional_classifiers() -> None:
    positive = np.arange(100) < 27
    perfect = net_benefit(positive, positive.astype(float), once(100))[0]
    assert perfect == pytest.approx(np.full(len(THRESHOLDS), 0.27))
    treat_all = 0.27 - 0.73 * THRESHOLDS / (1 - THRESHOLDS)
    assert net_benefit(positive, np.ones(100), once(100))[0] == pytest.approx(treat_all)
    useless = decision_curve(positive, np.full(100, 0.27), np.arange(100))  # calibrated, but says nothing
    assert useless["net_benefit"] == pytest.approx(np.where(THRESHOLDS <= 0.27, treat_all, 0), abs=1e-12)
    assert useless["treat_all"] == pytest.approx(treat_all)
    assert max(useless["gain_low"]) <= 1e-12


def test_a_weight_counts_like_so_many_images_in_net_benefit() -> None:
    rng = np.random.default_rng(0)
    positive, probabilities, weights = rng.random(50) < 0.4, rng.random(50), rng.integers(0, 3, 50)
    repeated = net_benefit(np.repeat(positive, weights), np.repeat(probabilities, weights), once(weights.sum()))
    assert net_benefit(positive, probabilities, weights[None].astype(float)) == pytest.approx(repeated)


def test_many_images_give_the_net_benefit_of_the_normal_law() -> None:
    drawn = draw_scores((2.0, 2.0), 0.0, np.random.default_rng(1), np.ones(40_000, np.int64))
    found = net_benefit(drawn.positive, posterior(drawn.arms[0], 2.0), once(40_000))[0]
    assert found == pytest.approx([true_net_benefit(2.0, t) for t in THRESHOLDS], abs=0.008)
