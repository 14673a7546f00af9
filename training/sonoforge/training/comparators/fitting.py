"""Fit the papers' comparators inside a training fold: selection, scaling, classifier and tuning.

*mRMR*: features that identify the class and repeat each other little (Peng, Long & Ding, IEEE PAMI 27 (8), 2005).  It
is written here because the maintained package (mrmr_selection) does not rank by the paper's mutual information. *Cat
swarm optimisation*: most cats look around where they are, a few chase the best place found (Chu, Tsai & Pan, PRICAI
2006).  It is written here because niapy, the maintained package, changes all of a copy's dimensions with one sign.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.calibration import CalibratedClassifierCV
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from threadpoolctl import threadpool_limits

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.seeds import derive_seed
from sonoforge.training.comparators import Comparator

log = logging.getLogger(__name__)

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]
Features = NDArray[np.float32]


STATES = 3
"""States of a discretised feature: below, within and above one standard deviation of its mean (Peng et al. 2005)."""


def discretise(values: NDArray[np.float32]) -> Labels:
    """Turn features (N, D) into states (N, D): 0 below mean - sd, 2 above mean + sd, 1 between."""
    mean, deviation = values.mean(axis=0), values.std(axis=0)
    return np.asarray(1 - (values < mean - deviation).astype(np.int64) + (values > mean + deviation))


def select_features(states: Labels, labels: Labels, count: int) -> Labels:
    """Choose features one by one, each with the largest relevance minus redundancy (their equation 6, difference).

    Relevance is the mutual information with the class, redundancy its mean with the features already chosen. Features
    (N, D) are `discretise`d; the result is indices in order of choice (min(count, D),).
    """
    columns = np.eye(STATES, dtype=np.float32)[states]  # (N, D, STATES)
    relevance = _information(columns, np.eye(labels.max() + 1)[labels])
    redundancy = np.zeros(states.shape[1])
    free = np.ones(states.shape[1], bool)
    chosen: list[int] = []
    for _ in range(min(count, states.shape[1])):
        score = relevance - redundancy / max(1, len(chosen))
        best = int(np.where(free, score, -np.inf).argmax())
        chosen.append(best)
        free[best] = False
        redundancy += _information(columns, columns[:, best])
    return np.array(chosen, np.int64)


def _information(columns: NDArray[np.float32], other: NDArray[np.floating]) -> Floats:
    """Return the mutual information (D,), in nats, of features (N, D, STATES) with a one-hot variable (N, K)."""
    images, features, states = columns.shape
    counts = columns.reshape(images, -1).T.astype(np.float32) @ other.astype(np.float32)
    joint = counts.reshape(features, states, -1).astype(np.float64) / images
    independent = joint.sum(axis=2, keepdims=True) * joint.sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(joint > 0, joint * np.log(joint / independent), 0.0)
    return np.asarray(terms.sum(axis=(1, 2)))


class Swarm(NamedTuple):
    """Settings; the defaults are from Chu & Tsai's experiments, except the numbers of cats and rounds."""

    cats: int = 6
    rounds: int = 4
    memory: int = 5  # seeking memory pool: places that a seeking cat chooses from, its own among them
    dimensions: float = 0.8  # counts of dimensions to change: share that is changed in each copy
    range: float = 0.2  # seeking range of the selected dimension: share of its value that is added or taken away
    tracing: float = 0.02  # mixture ratio: share of the cats that trace, at least one
    pull: float = 2.0  # c1, the velocity's pull towards the best place


def minimise(
    cost: Callable[[Floats], float], low: Floats, high: Floats, swarm: Swarm, rng: np.random.Generator
) -> tuple[Floats, float]:
    """Search the box from ``low`` to ``high`` (D,) for the place (D,) with the lowest cost.

    Places stay in the box; a velocity is at most the box's side. Return the place and its cost.
    """
    places = rng.uniform(low, high, (swarm.cats, len(low)))
    velocities = rng.uniform(-1, 1, places.shape) * (high - low)
    costs = np.array([cost(place) for place in places])
    best, least = places[costs.argmin()].copy(), float(costs.min())
    tracers = max(1, round(swarm.tracing * swarm.cats))
    for _ in range(swarm.rounds):
        tracing = np.zeros(swarm.cats, bool)
        tracing[rng.permutation(swarm.cats)[:tracers]] = True
        for cat in range(swarm.cats):
            if tracing[cat]:
                velocities[cat] = trace(velocities[cat], places[cat], best, swarm.pull, rng)
                velocities[cat] = np.clip(velocities[cat], low - high, high - low)
                places[cat] = np.clip(places[cat] + velocities[cat], low, high)
                costs[cat] = cost(places[cat])
            else:
                copies = np.clip(seek(places[cat], swarm, rng), low, high)
                own = np.array([costs[cat], *(cost(copy) for copy in copies[1:])])
                if own.min() < least:  # also where the cat moves elsewhere
                    best, least = copies[own.argmin()].copy(), float(own.min())
                chosen = rng.choice(len(copies), p=seeking_probabilities(own))
                places[cat], costs[cat] = copies[chosen], own[chosen]
            if costs[cat] < least:
                best, least = places[cat].copy(), float(costs[cat])
    return best, least


def seek(place: Floats, swarm: Swarm, rng: np.random.Generator) -> Floats:
    """Return copies of a place (memory, D), the first unchanged, others with some dimensions changed by the range."""
    copies = np.tile(place, (swarm.memory, 1))
    changed = max(1, round(swarm.dimensions * len(place)))
    for copy in copies[1:]:
        which = rng.permutation(len(place))[:changed]
        copy[which] *= 1 + swarm.range * rng.choice((-1.0, 1.0), changed)
    return copies


def seeking_probabilities(costs: Floats) -> Floats:
    """Return the probability (M,) of moving to each candidate by its cost (M,): equation 1, normalised, for a minimum.

    The worst candidate has probability 0; if all cost the same, all are equally likely.
    """
    span = costs.max() - costs.min()
    weights = (costs.max() - costs) / span if span > 0 else np.ones(len(costs))
    return np.asarray(weights / weights.sum())


def trace(velocity: Floats, place: Floats, best: Floats, pull: float, rng: np.random.Generator) -> Floats:
    """Return the velocity drawn to the best place (D,): equation 2."""
    return velocity + rng.uniform(0, 1, len(place)) * pull * (best - place)


INNER = 5
"""Number of inner parts of a training fold: the SVM's probabilities use all, the perceptron is tuned on one."""
SWARM = Swarm()
EPOCHS = 60  # of a perceptron, fewer than scikit-learn's 200: the swarm fits about a hundred of them in each fold
# Searched by the swarm, as logarithms: number of hidden units (base 2), L2 penalty and learning rate (base 10).
LOW, HIGH = np.array([3.0, -6.0, -4.0]), np.array([7.0, 1.0, -1.5])


class TrainingFold(NamedTuple):
    """Features (N, D), classes (N,) and groups (N,) of the images that training may use."""

    features: Features
    labels: Labels
    groups: Labels


class Fitted(NamedTuple):
    """A fitted pipeline, and the columns of the features that it reads."""

    kept: Labels
    pipeline: Any

    def predict(self, features: Features) -> Floats:
        """Return the probability of each class, (N, C)."""
        return np.asarray(self.pipeline.predict_proba(features[:, self.kept]).astype(np.float64))


def fit_comparator(comparator: Comparator, train: TrainingFold, seed: int, swarm: Swarm = SWARM) -> Fitted:
    """Fit a comparator to the features of a training fold; refuse a class with a single group of images.

    Inner splits keep groups whole, so that near-duplicates do not flatter the inner figures. Where the paper is
    silent, settings are scikit-learn's defaults: a radial kernel with C = 1, five neighbours.
    """
    kept = np.arange(train.features.shape[1])
    if comparator.selected is not None:
        kept = select_features(discretise(train.features), train.labels, comparator.selected)
    own = train._replace(features=train.features[:, kept])
    if comparator.classifier == "svm":
        # Platt's probabilities (1999) are of decision values of inner parts; the machine itself learns from all images.
        parts = inner_parts(own.labels, own.groups, seed)
        machine = CalibratedClassifierCV(make_pipeline(StandardScaler(), SVC()), cv=parts, ensemble=False)
        return Fitted(kept, machine.fit(own.features, own.labels))
    if comparator.classifier == "knn":
        return Fitted(kept, make_pipeline(StandardScaler(), KNeighborsClassifier()).fit(own.features, own.labels))
    return Fitted(kept, _fit_tuned(own, seed, swarm))


def inner_parts(labels: Labels, groups: Labels, seed: int, most: int = INNER) -> list[tuple[Labels, Labels]]:
    """Return the training and held-out rows of up to ``most`` inner parts, fewer for few groups, which stay whole."""
    fewest = min(len(np.unique(groups[labels == label])) for label in np.unique(labels))
    if fewest < 2:
        raise SonoforgeError(
            "comparators: tuning needs two groups of images of each class, but a training fold has one group of "
            "images; add images, or leave the comparators out of --arms"
        )
    splitter = StratifiedGroupKFold(
        min(most, fewest), shuffle=True, random_state=derive_seed(seed, "inner parts", bits=32)
    )
    return list(splitter.split(labels, labels, groups))


def _fit_tuned(train: TrainingFold, seed: int, swarm: Swarm) -> Any:
    """Let a cat swarm choose a perceptron by its errors on one inner part, then fit the best to all images."""
    learn, check = inner_parts(train.labels, train.groups, seed)[0]

    def errors(tried_at: Floats) -> float:
        tried = _fit_perceptron(tried_at, train.features[learn], train.labels[learn], seed)
        return float((tried.predict(train.features[check]) != train.labels[check]).mean())

    place, cost = minimise(errors, LOW, HIGH, swarm, np.random.default_rng(derive_seed(seed, "cat swarm")))
    fitted = _fit_perceptron(place, train.features, train.labels, seed)
    chosen = fitted[-1]
    log.info("cat swarm: %d hidden units, penalty %.1e, learning rate %.1e: %.3f wrong of one inner part",
             chosen.hidden_layer_sizes[0], chosen.alpha, chosen.learning_rate_init, cost)  # fmt: skip
    return fitted


def _fit_perceptron(place: Floats, features: Features, labels: Labels, seed: int) -> Any:
    perceptron = MLPClassifier(
        (round(2 ** place[0]),),
        alpha=10 ** place[1],
        learning_rate_init=10 ** place[2],
        max_iter=EPOCHS,
        random_state=derive_seed(seed, "perceptron", bits=32),
    )
    # One thread, as in any task: the small products of several folds at once waited for each other's threads.
    with warnings.catch_warnings(), threadpool_limits(1, "blas"):
        warnings.simplefilter("ignore", ConvergenceWarning)  # the number of epochs is meant
        return make_pipeline(StandardScaler(), perceptron).fit(features, labels)
