"""mRMR against a brute force over scikit-learn's mutual information, and cases whose answer is known."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import mutual_info_score

from sonoforge.training.comparators.fitting import discretise, select_features


def slowly(states: np.ndarray, labels: np.ndarray, count: int) -> list[int]:
    """Peng et al. 2005, equation 6, as it is printed."""
    chosen: list[int] = []
    for _ in range(count):
        scores = {}
        for j in set(range(states.shape[1])) - set(chosen):
            repeats = [mutual_info_score(states[:, j], states[:, i]) for i in chosen]
            scores[j] = mutual_info_score(states[:, j], labels) - (np.mean(repeats) if repeats else 0)
        chosen.append(max(scores, key=lambda j: (scores[j], -j)))
    return chosen


def test_it_chooses_what_the_equation_chooses() -> None:
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 3, 90)
    features = rng.normal(size=(90, 14)) + labels[:, None] * rng.uniform(0, 1, 14)
    states = discretise(features.astype(np.float32))
    assert select_features(states, labels, 6).tolist() == slowly(states, labels, 6)


def test_a_copy_of_the_best_feature_waits_for_one_that_adds_something() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 2, 400), rng.integers(0, 2, 400)
    labels = 2 * first + second
    columns = [first, first, second, rng.integers(0, 2, 400)]  # the second repeats the first
    assert select_features(2 * np.stack(columns, 1), labels, 2).tolist() in ([0, 2], [2, 0])


def test_states_lie_one_deviation_from_the_mean() -> None:
    values = np.array([[-2.0], [-1.0], [0.0], [1.0], [2.0]], np.float32)  # mean 0, deviation 1.41
    assert discretise(values)[:, 0].tolist() == [0, 1, 1, 1, 2]


def test_no_more_features_are_chosen_than_there_are() -> None:
    labels = np.array([0, 1, 0, 1])
    assert sorted(select_features(np.zeros((4, 3), np.int64), labels, 10).tolist()) == [0, 1, 2]
