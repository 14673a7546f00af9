"""Sensitivity at fixed specificity and net benefit, by hand and by the normal law; coverage of intervals (slow)."""

from __future__ import annotations

import numpy as np
import pytest

from clustered import draw_scores, posterior, true_net_benefit, true_sensitivity
from sonoforge.training.statistics.one_against_rest import (
    SPECIFICITIES,
    THRESHOLDS,
    called,
    decision_curve,
    net_benefit,
    operating_points,
    sensitivity_differences,
)


def by_loops(positive: np.ndarray, scores: np.ndarray, folds: np.ndarray, aim: float) -> tuple[float, float]:
    """Sensitivity and specificity, image by image."""
    answers = []
    for own, score in zip(folds, scores, strict=True):
        others = sorted(scores[(folds != own) & ~positive])
        threshold = next(t for t in others if np.mean(np.array(others) <= t) >= aim)
        answers.append(score > threshold)
    return float(np.mean(np.array(answers)[positive])), float(np.mean(~np.array(answers)[~positive]))


@pytest.mark.parametrize("seed", range(4))
def test_figures_equal_plain_loops_also_with_ties(seed: int) -> None:
    rng = np.random.default_rng(seed)
    positive, folds = rng.random(120) < 0.3, rng.integers(0, 5, 120)
    scores = (rng.normal(size=120) + positive).round(1)
    found = called(positive, scores, folds, np.ones((1, 120)))
    for i, aim in enumerate(SPECIFICITIES):
        expected = by_loops(positive, scores, folds, aim)
        assert (found.sensitivity[0, i], found.specificity[0, i]) == pytest.approx(expected)


def test_a_weight_counts_like_so_many_images() -> None:
    rng = np.random.default_rng(7)
    positive, folds = rng.random(60) < 0.4, rng.integers(0, 3, 60)
    scores, weights = rng.normal(size=60) + positive, rng.integers(0, 4, 60)
    repeated = [np.repeat(part, weights) for part in (positive, scores, folds)]
    once = called(*repeated, np.ones((1, weights.sum())))
    weighted = called(positive, scores, folds, weights[None].astype(float))
    assert np.allclose(once.sensitivity, weighted.sensitivity) and np.allclose(once.specificity, weighted.specificity)


def test_no_threshold_is_chosen_on_the_images_that_it_is_measured_on() -> None:
    rng = np.random.default_rng(8)
    positive, folds = rng.random(200) < 0.3, np.arange(200) % 4
    scores = rng.normal(size=200) + positive
    lifted = np.where(folds == 0, scores + 100, scores)  # every image of fold 0 is above the others' thresholds
    found = called(positive, lifted, folds, np.ones((1, 200)))
    # Chosen on fold 0 itself, nine tenths of its images that are not of the class would be spared.
    assert found.specificity[0, 0] == pytest.approx(1 - np.mean(folds[~positive] == 0))


def test_many_images_give_the_sensitivity_of_the_normal_law() -> None:
    drawn = draw_scores((2.0, 2.5), 0.0, np.random.default_rng(9), np.ones(40_000, np.int64))
    once = np.ones((1, 40_000))
    for scores, separation in zip(drawn.arms, (2.0, 2.5), strict=True):
        found = called(drawn.positive, scores, drawn.folds, once)
        for i, aim in enumerate(SPECIFICITIES):
            assert found.sensitivity[0, i] == pytest.approx(true_sensitivity(separation, aim), abs=0.012)
            assert found.specificity[0, i] == pytest.approx(aim, abs=0.005)


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
    found = called(np.ones(4, bool), np.arange(4.0), np.arange(4), np.ones((1, 4)))
    assert found.sensitivity.tolist() == [[0.0, 0.0]] and np.isnan(found.specificity).all()


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
