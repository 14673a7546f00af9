"""Net benefit, against its definition by hand and the normal law; coverage of every interval by class (slow)."""

from __future__ import annotations

import numpy as np
import pytest

from clustered_scores import KINDS, coverage, draw_scores, posterior, true_net_benefit
from sonoforge.training.statistics.one_against_rest import THRESHOLDS, decision_curve, net_benefit


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


def test_a_weight_counts_like_so_many_images() -> None:
    rng = np.random.default_rng(0)
    positive, probabilities, weights = rng.random(50) < 0.4, rng.random(50), rng.integers(0, 3, 50)
    repeated = net_benefit(np.repeat(positive, weights), np.repeat(probabilities, weights), once(weights.sum()))
    assert net_benefit(positive, probabilities, weights[None].astype(float)) == pytest.approx(repeated)


def test_many_images_give_the_net_benefit_of_the_normal_law() -> None:
    drawn = draw_scores((2.0, 2.0), 0.0, np.random.default_rng(1), np.ones(40_000, np.int64))
    found = net_benefit(drawn.positive, posterior(drawn.arms[0], 2.0), once(40_000))[0]
    assert found == pytest.approx([true_net_benefit(2.0, t) for t in THRESHOLDS], abs=0.008)


def test_a_good_classifier_is_shown_to_be_better_than_acting_on_all_and_on_nobody() -> None:
    drawn = draw_scores((2.5, 2.5), 0.5, np.random.default_rng(2))
    found = decision_curve(drawn.positive, posterior(drawn.arms[0], 2.5), drawn.groups)
    assert all(np.diff([found["low"], found["net_benefit"], found["high"]], axis=0).ravel() > 0)
    assert (np.array(found["gain_low"])[THRESHOLDS >= 0.1] > 0).all()


@pytest.mark.slow
@pytest.mark.parametrize("correlation", [0.0, 0.6])
def test_intervals_hold_the_true_figures_as_often_as_they_say(correlation: float) -> None:
    covered = coverage(300, correlation, np.random.default_rng(3))
    shares = {kind: float(np.mean(covered[kind])) for kind in KINDS}
    assert shares.pop("p below 0.05 (no difference)") < 0.09
    assert all(0.91 <= share <= 0.985 for share in shares.values()), shares  # 0.95, three standard errors
