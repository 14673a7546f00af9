"""What a comparator fits: mRMR, the cat swarm and the pipeline, against brute force and known answers."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import mutual_info_score
from sklearn.neighbors import KNeighborsClassifier

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.comparators import Comparator
from sonoforge.training.comparators.fitting import (
    Swarm,
    TrainingFold,
    discretise,
    fit_comparator,
    minimise,
    seek,
    seeking_probabilities,
    select_features,
    trace,
)


@pytest.fixture(scope="module")
def fold() -> TrainingFold:
    """Three classes, each told by its own feature; two images a group; the other features are noise."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 24)
    features = rng.normal(size=(72, 12)).astype(np.float32)
    features[np.arange(72), labels] += 4
    return TrainingFold(features, labels, np.arange(72) // 2)


@pytest.mark.parametrize("classifier", ["svm", "knn", "mlp"])
def test_probabilities_are_of_the_true_class_where_features_tell_it(fold: TrainingFold, classifier: str) -> None:
    few = Swarm(cats=2, rounds=1)
    fitted = fit_comparator(Comparator("", (), classifier, 3), fold, 1, few)
    assert sorted(fitted.kept.tolist()) == [0, 1, 2]
    fresh = np.random.default_rng(5).normal(size=(30, 12)).astype(np.float32)
    labels = np.arange(30) % 3
    fresh[np.arange(30), labels] += 4
    answers = fitted.predict(fresh)
    assert np.allclose(answers.sum(axis=1), 1) and (answers >= 0).all()
    assert (answers.argmax(axis=1) == labels).mean() > 0.85
    again = fit_comparator(Comparator("", (), classifier, 3), fold, 1, few).predict(fresh)
    assert np.array_equal(answers, again)


def test_neighbours_are_those_of_features_scaled_by_the_training_fold(fold: TrainingFold) -> None:
    stretched = fold._replace(features=fold.features * np.float32([1, 1, 1, 100, *[1] * 8]))
    fitted = fit_comparator(Comparator("", (), "knn"), stretched, seed=0)
    mean, deviation = stretched.features.mean(axis=0), stretched.features.std(axis=0)
    own = KNeighborsClassifier().fit((stretched.features - mean) / deviation, fold.labels)
    assert np.allclose(fitted.predict(stretched.features), own.predict_proba((stretched.features - mean) / deviation))


def test_a_class_of_one_group_cannot_be_tuned_on(fold: TrainingFold) -> None:
    groups = np.where(fold.labels == 2, 99, fold.groups)
    with pytest.raises(SonoforgeError, match="one group"):
        fit_comparator(Comparator("", (), "svm"), fold._replace(groups=groups), seed=0)


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


def test_a_seeking_cat_prefers_cheap_places_as_equation_1_says() -> None:
    weights = np.array([(9 - 1) / 8, (9 - 5) / 8, (9 - 9) / 8])
    assert seeking_probabilities(np.array([1.0, 5.0, 9.0])) == pytest.approx(weights / weights.sum())
    assert seeking_probabilities(np.full(4, 2.0)).tolist() == [0.25] * 4


def test_copies_differ_in_the_counted_dimensions_by_the_range() -> None:
    place = np.arange(1.0, 11.0)
    copies = seek(place, Swarm(), np.random.default_rng(1))
    assert copies.shape == (5, 10) and (copies[0] == place).all()
    for copy in copies[1:]:
        ratio = copy / place
        assert sorted(np.round(ratio[ratio != 1], 12)) == sorted(np.round(1 + 0.2 * np.sign(ratio[ratio != 1] - 1), 12))
        assert (ratio != 1).sum() == 8
    assert {float(np.round(r, 12)) for r in (copies / place).ravel()} == {0.8, 1.0, 1.2}  # both signs, in each copy


def test_a_tracing_cat_is_drawn_to_the_best_place() -> None:
    velocity, place, best = np.array([0.5, -1.0]), np.array([1.0, 1.0]), np.array([3.0, 1.0])
    drawn = trace(velocity, place, best, 2.0, np.random.default_rng(0))
    factor = (drawn[0] - velocity[0]) / (2.0 * (best[0] - place[0]))
    assert 0 <= factor <= 1 and drawn[1] == velocity[1]


def test_it_finds_the_minimum_of_a_bowl_better_than_as_many_random_places() -> None:
    low, high = np.full(3, -4.0), np.full(3, 6.0)
    asked: list[np.ndarray] = []

    def bowl(place: np.ndarray) -> float:
        asked.append(place.copy())
        return float(((place - 1) ** 2).sum())

    best, cost = minimise(bowl, low, high, Swarm(cats=12, rounds=40), np.random.default_rng(0))
    calls, places = len(asked), np.array(asked)
    assert (places >= low).all() and (places <= high).all()
    assert cost == bowl(best) == ((places - 1) ** 2).sum(axis=1).min()
    drawn = np.random.default_rng(1).uniform(low, high, (calls, 3))
    assert cost < ((drawn - 1) ** 2).sum(axis=1).min()
    again, _ = minimise(bowl, low, high, Swarm(cats=12, rounds=40), np.random.default_rng(0))
    assert (again == best).all()
