"""What is fitted inside a training fold: scaling, selection, classifier and its tuning; no test image is ever seen."""

import logging
import warnings
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.seeds import derive_seed
from sonoforge.training.comparators.cat_swarm import Swarm, minimise
from sonoforge.training.comparators.mrmr import discretise, select_features
from sonoforge.training.comparators.table import Comparator

log = logging.getLogger(__name__)

Features = NDArray[np.float32]
Labels = NDArray[np.int64]

INNER = 5
"""Inner parts of a training fold: the SVM's probabilities are fitted over all, the perceptron is tuned on one."""
SWARM = Swarm()
EPOCHS = 60  # of a perceptron, fewer than scikit-learn's 200: the swarm fits about a hundred of them in each fold
# Searched by the swarm, as logarithms: number of hidden units (base 2), L2 penalty and learning rate (base 10).
LOW, HIGH = np.array([3.0, -6.0, -4.0]), np.array([7.0, 1.0, -1.5])


class TrainingFold(NamedTuple):
    """Features (N, D), classes (N,) and groups (N,) of the images that may be learned from."""

    features: Features
    labels: Labels
    groups: Labels


class Fitted(NamedTuple):
    """A fitted pipeline, and the columns of the features that it reads."""

    kept: Labels
    pipeline: Any

    def predict(self, features: Features) -> NDArray[np.float64]:
        """Return the probability of each class, (N, C)."""
        probabilities: NDArray[np.float64] = self.pipeline.predict_proba(features[:, self.kept]).astype(np.float64)
        return probabilities


def fit_comparator(comparator: Comparator, train: TrainingFold, seed: int, swarm: Swarm = SWARM) -> Fitted:
    """Fit what the comparator fits to features.

    Every inner split keeps groups whole, so that near-duplicates do not make the inner figures better than they are.
    Where the paper is silent, the settings are scikit-learn's defaults: a radial kernel with C = 1, five neighbours.

    Raises:
        SonoforgeError: A class has a single group of images, so that no inner split can hold one back.
    """
    from sklearn.neighbors import KNeighborsClassifier  # noqa: PLC0415 - heavy

    kept = np.arange(train.features.shape[1])
    if comparator.selected is not None:
        kept = select_features(discretise(train.features), train.labels, comparator.selected)
    own = train._replace(features=train.features[:, kept])
    if comparator.classifier == "svm":
        return Fitted(kept, _fit_svm(own, seed))
    if comparator.classifier == "knn":
        return Fitted(kept, _scaled(KNeighborsClassifier()).fit(own.features, own.labels))
    return Fitted(kept, _fit_tuned(own, seed, swarm))


def _scaled(model: Any) -> Any:
    from sklearn.pipeline import make_pipeline  # noqa: PLC0415
    from sklearn.preprocessing import StandardScaler  # noqa: PLC0415

    return make_pipeline(StandardScaler(), model)


def _inner_parts(train: TrainingFold, seed: int) -> list[tuple[Labels, Labels]]:
    """Training and held-out rows of each inner part, groups whole."""
    from sklearn.model_selection import StratifiedGroupKFold  # noqa: PLC0415

    fewest = min(len(np.unique(train.groups[train.labels == label])) for label in np.unique(train.labels))
    if fewest < 2:
        raise SonoforgeError(
            "comparators: found a class with one group of images in a training fold, expected at least 2 to tune on; "
            "add images, or leave the comparators out of --arms"
        )
    splitter = StratifiedGroupKFold(
        min(INNER, fewest), shuffle=True, random_state=derive_seed(seed, "inner parts", bits=32)
    )
    return list(splitter.split(train.features, train.labels, train.groups))


def _fit_svm(train: TrainingFold, seed: int) -> Any:
    """Platt's probabilities (1999) from decision values of inner parts; the machine itself learns from all images."""
    from sklearn.calibration import CalibratedClassifierCV  # noqa: PLC0415
    from sklearn.svm import SVC  # noqa: PLC0415

    parts = _inner_parts(train, seed)
    return CalibratedClassifierCV(_scaled(SVC()), cv=parts, ensemble=False).fit(train.features, train.labels)


def _fit_tuned(train: TrainingFold, seed: int, swarm: Swarm) -> Any:
    """Let a cat swarm choose a perceptron by its errors on one inner part, and fit the best to all images."""
    learn, check = _inner_parts(train, seed)[0]

    def errors(place: NDArray[np.float64]) -> float:
        tried = _fit_perceptron(place, train.features[learn], train.labels[learn], seed)
        return float((tried.predict(train.features[check]) != train.labels[check]).mean())

    found = minimise(errors, LOW, HIGH, swarm, np.random.default_rng(derive_seed(seed, "cat swarm")))
    units, penalty, rate = _meaning(found.place)
    log.info("cat swarm: %d hidden units, penalty %.1e, learning rate %.1e: %.3f wrong of one inner part",
             units, penalty, rate, found.cost)  # fmt: skip
    return _fit_perceptron(found.place, train.features, train.labels, seed)


def _meaning(place: NDArray[np.float64]) -> tuple[int, float, float]:
    return round(2 ** place[0]), 10 ** place[1], 10 ** place[2]


def _fit_perceptron(place: NDArray[np.float64], features: Features, labels: Labels, seed: int) -> Any:
    from sklearn.exceptions import ConvergenceWarning  # noqa: PLC0415
    from sklearn.neural_network import MLPClassifier  # noqa: PLC0415

    units, penalty, rate = _meaning(place)
    perceptron = MLPClassifier(
        (units,),
        alpha=penalty,
        learning_rate_init=rate,
        max_iter=EPOCHS,
        random_state=derive_seed(seed, "perceptron", bits=32),
    )
    # One thread, as in any task: the small products of several folds at once waited for each other's threads.
    with warnings.catch_warnings(), threadpool_limits(1, "blas"):
        warnings.simplefilter("ignore", ConvergenceWarning)  # the number of epochs is meant
        return _scaled(perceptron).fit(features, labels)
