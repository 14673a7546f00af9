"""The area under the ROC curve and the difference of two, against published values, SciPy and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from clustered import HUNDRED
from clustered_scores import draw_scores
from sonoforge.training.statistics.classification import delong_test, weighted_auc
from sonoforge.training.statistics.intervals import RESAMPLES, group_bootstrap, group_weights, paired_bootstrap

# The 43 patients with all three tests of DeLong, DeLong & Clarke-Pearson (1988), as printed in SAS/STAT's example
# "Comparing Receiver Operating Characteristic Curves": albumin, total protein, K-G score, benefit from surgery.
PATIENTS = """
3.0 5.8 10 0  3.2 6.3  5 1  3.9 6.8  3 1  2.8 4.8  6 0  3.2 5.8  3 1  0.9 4.0  5 0  2.5 5.7  8 0  1.6 5.6  5 1
3.8 5.7  5 1  3.7 6.7  6 1  3.2 5.4  4 1  3.8 6.6  6 1  4.1 6.6  5 1  3.6 5.7  5 1  4.3 7.0  4 1  3.6 6.7  4 0
2.3 4.4  6 1  4.2 7.6  4 0  4.0 6.6  6 0  3.5 5.8  6 1  3.8 6.8  7 1  3.0 4.7  8 0  4.5 7.4  5 1  3.7 7.4  5 1
3.1 6.6  6 1  4.1 8.2  6 1  4.3 7.0  5 1  4.3 6.5  4 1  3.2 5.1  5 1  2.6 4.7  6 1  3.3 6.8  6 0  1.7 4.0  7 0
3.7 6.1  5 1  3.3 6.3  7 1  4.2 7.7  6 1  3.5 6.2  5 1  2.9 5.7  9 0  2.1 4.8  7 1  2.8 6.2  8 0  4.0 7.0  7 1
3.3 5.7  6 1  3.7 6.9  5 1  3.6 6.6  5 1
"""


def test_delongs_test_gives_the_published_example() -> None:
    table = np.array(PATIENTS.split(), float).reshape(-1, 4)
    positive, single = table[:, 3] == 1, np.arange(len(table))
    albumin, protein, score = table[:, 0], table[:, 1], 10 - table[:, 2]
    for scores, area in ((albumin, 0.7366), (protein, 0.6478), (score, 0.7258)):
        assert group_bootstrap(weighted_auc, positive, scores, single)["value"] == pytest.approx(area, abs=5e-5)
    # Output "ROC Contrast Estimation and Testing Results" of that example: total protein less K-G score.
    found = delong_test(positive, score, protein, single)
    assert paired_bootstrap(weighted_auc, positive, score, protein, single)["value"] == pytest.approx(-0.0780, abs=5e-5)
    assert found.standard_error == pytest.approx(0.1046, abs=5e-5)
    assert found.p_value == pytest.approx(0.4561, abs=5e-5)


def test_weighted_areas_agree_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    positive, scores = rng.random(90) < 0.4, rng.normal(size=90).round(1)  # with ties
    weights = rng.integers(0, 4, (20, 90)).astype(float)
    for row, area in zip(weights, weighted_auc(positive, scores, weights), strict=True):
        assert area == pytest.approx(metrics.roc_auc_score(positive, scores, sample_weight=row))


def test_without_images_of_a_kind_there_is_no_area() -> None:
    assert np.isnan(weighted_auc(np.zeros(4, bool), np.arange(4.0), np.ones((2, 4)))).all()
    found = delong_test(np.ones(4, bool), np.arange(4.0), np.arange(4.0), np.arange(4))
    assert np.isnan(found.standard_error) and np.isnan(found.p_value)


def test_group_weights_are_the_draws_of_groups() -> None:
    groups = np.array([3, 3, 7, 1, 1, 1, 9])
    once, *drawn = group_weights(groups)
    assert (once == 1).all()
    places = np.random.default_rng(0).integers(0, 4, (RESAMPLES, 4))  # of the groups 1, 3, 7 and 9
    expected = [[(np.array([1, 3, 7, 9])[draw] == group).sum() for group in groups] for draw in places]
    assert np.array_equal(drawn, expected)


def test_the_error_of_one_area_is_that_of_brunner_and_munzel() -> None:
    rng = np.random.default_rng(1)
    positive = rng.random(120) < 0.3
    scores = rng.normal(size=120).round(1) + positive
    # Against a constant, whose area is one half whatever the images, the difference has the area's own error.
    found = delong_test(positive, np.zeros(120), scores, np.arange(120))
    (area,) = weighted_auc(positive, scores, np.ones((1, 120)))
    other = stats.brunnermunzel(scores[~positive], scores[positive]).statistic
    assert (area - 0.5) / found.standard_error == pytest.approx(other)


def test_copies_of_images_tell_nothing_new() -> None:
    drawn = draw_scores((1.0, 1.5), 0.0, np.random.default_rng(2), np.ones(100, np.int64))
    copied = [np.repeat(part, 3) for part in (drawn.positive, *drawn.arms, drawn.groups)]
    assert delong_test(*copied) == pytest.approx(delong_test(drawn.positive, *drawn.arms, groups=drawn.groups))


def test_delongs_error_and_the_bootstraps_agree() -> None:
    for correlation in (0.0, 0.9):
        drawn = draw_scores((1.5, 2.0), correlation, np.random.default_rng(3))
        found = delong_test(drawn.positive, *drawn.arms, groups=drawn.groups)
        interval = paired_bootstrap(weighted_auc, drawn.positive, *drawn.arms, groups=drawn.groups)
        assert interval["high"] - interval["low"] == pytest.approx(2 * 1.96 * found.standard_error, rel=0.1)


def test_an_arm_does_not_differ_from_itself() -> None:
    drawn = draw_scores((1.0, 1.0), 0.5, np.random.default_rng(4))
    assert delong_test(drawn.positive, drawn.arms[0], drawn.arms[0], drawn.groups) == (0.0, 1.0)


def test_images_of_one_group_are_one_piece_of_evidence() -> None:
    rng = np.random.default_rng(5)
    errs = []
    for _ in range(150):  # no difference between the arms, groups of six alike images
        drawn = draw_scores((1.5, 1.5), 0.95, rng, np.full(40, 6))
        p_values = [delong_test(drawn.positive, *drawn.arms, groups=g).p_value
                    for g in (drawn.groups, np.arange(240))]  # fmt: skip
        errs.append([p < 0.05 for p in p_values])
    by_group, by_image = np.mean(errs, axis=0)
    assert by_group < 0.12 < 0.3 < by_image


def test_the_interval_of_few_groups_holds_most_true_areas() -> None:
    rng, held = np.random.default_rng(6), 0
    for _ in range(100):
        drawn = draw_scores((1.0, 1.0), 0.6, rng, HUNDRED)
        _, low, high = group_bootstrap(weighted_auc, drawn.positive, drawn.arms[0], drawn.groups).values()
        held += low <= stats.norm.cdf(1 / np.sqrt(2)) <= high
    assert held >= 87  # of 95 expected, less three standard errors and a little for a percentile interval
