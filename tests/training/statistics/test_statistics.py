"""Figures, areas, calibration and agreement against published values, SciPy and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from sklearn import metrics

from clustered import draw_scores
from sonoforge.training.statistics import calibration, classification, intervals
from sonoforge.training.statistics.classification import agreement, delong_test, kappas, weighted_auc
from sonoforge.training.statistics.intervals import RESAMPLES, group_bootstrap, group_weights, paired_bootstrap


@pytest.fixture(scope="module")
def answers() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    labels = rng.choice(3, 300, p=[0.2, 0.5, 0.3])
    logits = 2.0 * np.eye(3)[labels] + rng.normal(0, 1.5, (300, 3))
    powers = np.exp(logits)
    return labels.astype(np.int64), powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(("successes", "trials"), [(0, 20), (20, 20), (7, 9), (1, 1)])
def test_wilson_interval_agrees_with_scipy_and_stays_inside_0_and_1(successes: int, trials: int) -> None:
    interval = stats.binomtest(successes, trials).proportion_ci(method="wilson")
    value, low, high = intervals.wilson_interval(successes, trials).values()
    assert (low, high) == (pytest.approx(interval.low, abs=1e-12), pytest.approx(interval.high, abs=1e-12))
    assert 0 <= low <= value <= high <= 1


def test_figures_agree_with_scikit_learn(answers: tuple[np.ndarray, np.ndarray]) -> None:
    labels, probabilities = answers
    predicted = probabilities.argmax(axis=1)
    assert classification.accuracy(labels, probabilities) == pytest.approx(metrics.accuracy_score(labels, predicted))
    assert classification.macro_auc(labels, probabilities) == pytest.approx(
        metrics.roc_auc_score(labels, probabilities, multi_class="ovr", average="macro")
    )
    assert (
        classification.confusion_matrix(labels, predicted, 3).tolist()
        == metrics.confusion_matrix(labels, predicted).tolist()
    )


def test_weighted_figures_agree_with_scikit_learn(answers: tuple[np.ndarray, np.ndarray]) -> None:
    labels, probabilities = answers
    predicted, weights = probabilities.argmax(axis=1), np.random.default_rng(0).integers(0, 4, (5, 300)).astype(float)
    weights[4, labels == 2] = 0  # a draw without one class
    for n, own in enumerate(weights):
        kept = own > 0
        given = {"y_true": labels[kept], "y_pred": predicted[kept], "sample_weight": own[kept]}
        expected = [
            metrics.accuracy_score(**given),
            np.mean(metrics.recall_score(**given, average=None, labels=np.unique(labels[kept]))),
            metrics.f1_score(**given, average="macro", labels=[0, 1, 2], zero_division=0),
            np.mean([metrics.roc_auc_score(labels[kept] == c, probabilities[kept, c], sample_weight=own[kept])
                     for c in np.unique(labels[kept])]),
        ]  # fmt: skip
        figures = (classification.accuracies, classification.balanced_accuracies, classification.macro_f1s,
                   classification.macro_aucs)  # fmt: skip
        assert [figure(labels, probabilities, weights)[n] for figure in figures] == pytest.approx(expected)


def test_sensitivity_and_specificity_by_hand() -> None:
    confusion = np.array([[8, 2, 0], [1, 15, 4], [0, 3, 27]])
    labels, predicted = (np.repeat(index.ravel(), confusion.ravel()) for index in np.indices((3, 3)))
    alone = np.arange(60)
    assert classification.sensitivity(labels, predicted, alone, 1) == pytest.approx(intervals.wilson_interval(15, 20))
    assert classification.specificity(labels, predicted, alone, 1) == pytest.approx(intervals.wilson_interval(35, 40))


def test_temperature_recovers_the_one_that_was_applied(answers: tuple[np.ndarray, np.ndarray]) -> None:
    labels, probabilities = answers
    best = calibration.fit_temperature(labels, probabilities)
    sharpened = calibration.apply_temperature(probabilities, 0.4)
    assert calibration.fit_temperature(labels, sharpened) == pytest.approx(best / 0.4, rel=1e-3)
    calibrated = calibration.apply_temperature(sharpened, best / 0.4)
    assert np.allclose(calibrated, calibration.apply_temperature(probabilities, best), atol=1e-4)


def test_what_a_fold_is_judged_by_never_reads_its_labels(answers: tuple[np.ndarray, np.ndarray]) -> None:
    labels, probabilities = answers
    folds = np.arange(300) % 5
    changed = labels.copy()
    changed[folds == 2] = (changed[folds == 2] + 1) % 3
    before, after = (calibration.calibrate(own, probabilities, folds) for own in (labels, changed))
    assert np.array_equal(before[2].probabilities, after[2].probabilities)
    assert not np.array_equal(before[1].probabilities, after[1].probabilities)
    own = [calibration.own_answers(by_fold) for by_fold in (before, after)]
    assert np.array_equal(own[0][folds == 2], before[2].probabilities[folds == 2])
    assert np.array_equal(own[0][folds == 2], own[1][folds == 2])
    sets = [calibration.in_sets(labels, by_fold, 0.1)[folds == 2] for by_fold in (before, after)]
    assert np.array_equal(*sets) and not sets[0].all()


def test_calibration_error_of_known_cases() -> None:
    always = np.tile([1.0, 0.0], (10, 1))
    labels = np.array([0] * 7 + [1] * 3)
    assert calibration.expected_calibration_error(labels, always) == pytest.approx(0.3)
    assert calibration.brier_score(labels, always) == pytest.approx(0.6)
    honest = np.tile([0.7, 0.3], (10, 1))
    assert calibration.expected_calibration_error(labels, honest) == pytest.approx(0.0, abs=1e-12)


def test_conformal_sets_cover_each_class_as_promised() -> None:
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(200):
        labels = rng.integers(0, 2, 240)
        score = np.clip(rng.normal(0.3 + 0.4 * labels, 0.2), 0.01, 0.99)
        probabilities = np.stack([1 - score, score], axis=1)
        thresholds = calibration.conformal_thresholds(labels[:120], probabilities[:120], 0.1)
        inside = probabilities[120:] >= thresholds
        covered = inside[np.arange(120), labels[120:]]
        shares.append([covered[labels[120:] == c].mean() for c in (0, 1)])
    assert np.all(np.mean(shares, axis=0) >= 0.895)
    assert np.all(np.mean(shares, axis=0) <= 0.93)


def test_conformal_threshold_with_too_few_images_lets_the_class_in() -> None:
    thresholds = calibration.conformal_thresholds(np.array([0] * 5 + [1] * 50), np.full((55, 2), 0.5), 0.1)
    assert thresholds.tolist() == [0.0, 0.5]


def test_group_bootstrap_is_wider_than_by_image_when_images_repeat() -> None:
    rng = np.random.default_rng(1)
    labels = np.repeat(rng.integers(0, 2, 60), 8)
    score = np.repeat(rng.random(60), 8)
    probabilities = np.stack([1 - score, score], axis=1)
    by_group = intervals.group_bootstrap(classification.accuracies, labels, probabilities, np.repeat(np.arange(60), 8))
    by_image = intervals.group_bootstrap(classification.accuracies, labels, probabilities, np.arange(480))
    ratio = (by_group["high"] - by_group["low"]) / (by_image["high"] - by_image["low"])
    assert ratio == pytest.approx(np.sqrt(8), rel=0.15)


def test_paired_bootstrap_of_an_arm_with_itself_is_zero(answers: tuple[np.ndarray, np.ndarray]) -> None:
    labels, probabilities = answers
    found = intervals.paired_bootstrap(classification.macro_aucs, labels, probabilities, probabilities, np.arange(300))
    assert found == {"value": 0, "low": 0, "high": 0}


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


# Ten subjects, fourteen readers, five categories: counts of a textbook example whose kappa is 0.210.
COUNTS = [
    [0, 0, 0, 0, 14],
    [0, 2, 6, 4, 2],
    [0, 0, 3, 5, 6],
    [0, 3, 9, 2, 0],
    [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0],
    [3, 2, 6, 3, 0],
    [2, 5, 3, 2, 2],
    [6, 5, 2, 1, 0],
    [0, 2, 2, 3, 7],
]


def ratings(seed: int, readers: int, categories: int = 3, images: int = 80) -> NDArray[np.int64]:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, categories, (images, 1))
    blind = rng.random((images, readers)) < 0.4
    found: NDArray[np.int64] = np.where(blind, rng.integers(0, categories, (images, readers)), truth)
    return found


def test_fleiss_kappa_of_the_textbook_example() -> None:
    table = np.array([np.repeat(range(5), row) for row in COUNTS])
    assert kappas(table, np.ones((1, 10)))[0] == pytest.approx(0.210, abs=5e-4)


def test_cohen_kappa_is_that_of_scikit_learn() -> None:
    table = ratings(0, 2)
    weights = np.random.default_rng(1).integers(0, 4, (5, 80)).astype(float)
    expected = [metrics.cohen_kappa_score(*table.T, sample_weight=own) for own in weights]
    assert kappas(table, weights) == pytest.approx(expected)


def test_agreement_is_cohens_for_two_readers_with_its_asymptotic_interval_and_fleiss_for_more() -> None:
    """Interval: Fleiss, Cohen & Everitt, Psychol. Bull. 72, 1969, equation 13."""
    table = ratings(3, 2, images=400)
    shares = metrics.confusion_matrix(*table.T) / 400
    rows, columns = shares.sum(axis=1), shares.sum(axis=0)
    expected, kappa = rows @ columns, metrics.cohen_kappa_score(*table.T)
    both = rows[None] + columns[:, None]  # the reader's own margin crosswise
    first = (np.diag(shares) * (1 - np.diag(both) * (1 - kappa)) ** 2).sum()
    off = shares * both**2
    second = (1 - kappa) ** 2 * (off.sum() - np.trace(off))
    error = np.sqrt((first + second - (kappa - expected * (1 - kappa)) ** 2) / 400) / (1 - expected)
    found = agreement(table)
    assert found["value"] == pytest.approx(kappa)
    assert (found["low"], found["high"]) == pytest.approx((kappa - 1.96 * error, kappa + 1.96 * error), abs=0.012)
    four = ratings(2, 4)
    assert agreement(four)["value"] == pytest.approx(kappas(four, np.ones((1, len(four))))[0])


def test_two_readers_of_two_categories_and_chance() -> None:
    rng = np.random.default_rng(0)
    blind = rng.integers(0, 2, (5000, 3))
    assert kappas(blind, np.ones((1, 5000)))[0] == pytest.approx(0, abs=0.02)
    same = np.repeat(blind[:, :1], 3, axis=1)
    assert kappas(same, np.ones((1, 5000)))[0] == pytest.approx(1)
    assert np.isnan(agreement(np.zeros((5, 3), np.int64))["value"])
