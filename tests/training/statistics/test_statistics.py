"""Each statistic against a published value, a closed form or another library."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from sonoforge.training.statistics import calibration, classification, intervals


@pytest.fixture(scope="module")
def answers() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    labels = rng.choice(3, 300, p=[0.2, 0.5, 0.3])
    logits = 2.0 * np.eye(3)[labels] + rng.normal(0, 1.5, (300, 3))
    powers = np.exp(logits)
    return labels.astype(np.int64), powers / powers.sum(axis=1, keepdims=True)


def test_wilson_interval_gives_the_published_example() -> None:
    # Newcombe, Statistics in Medicine 17 (1998), table I: 81/263 gives 0.2553..0.3662.
    value, low, high = intervals.wilson_interval(81, 263).values()
    assert value == pytest.approx(81 / 263)
    assert (low, high) == (pytest.approx(0.2553, abs=5e-5), pytest.approx(0.3662, abs=5e-5))


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


def test_macro_auc_counts_ties_as_half() -> None:
    labels = np.array([0, 0, 1, 1])
    assert classification.macro_auc(labels, np.full((4, 2), 0.5)) == 0.5


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


def test_group_bootstrap_matches_the_normal_law_for_a_proportion() -> None:
    rng = np.random.default_rng(5)
    labels = (rng.random(2000) < 0.8).astype(np.int64)
    certain = np.tile([0.0, 1.0], (2000, 1))
    interval = intervals.group_bootstrap(classification.accuracies, labels, certain, np.arange(2000))
    half = 1.96 * np.sqrt(0.8 * 0.2 / 2000)
    assert interval["high"] - interval["low"] == pytest.approx(2 * half, rel=0.1)


def test_paired_bootstrap_of_an_arm_with_itself_is_zero(answers: tuple[np.ndarray, np.ndarray]) -> None:
    labels, probabilities = answers
    found = intervals.paired_bootstrap(classification.macro_aucs, labels, probabilities, probabilities, np.arange(300))
    assert found == {"value": 0, "low": 0, "high": 0}
