"""What a comparator fits: answers that can be checked, and nothing but its training fold."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.comparators.fitting import Comparator, Swarm, TrainingFold, fit_comparator


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
    with pytest.raises(SonoforgeError, match="one group of images"):
        fit_comparator(Comparator("", (), "svm"), fold._replace(groups=groups), seed=0)
