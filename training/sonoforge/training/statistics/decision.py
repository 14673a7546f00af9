"""Fit a bundle's decision rules, reference shares and operating points, and measure them on held-out images.

The reference holds the class shares that the network's probabilities assume. Dividing by them makes all classes equally
frequent; from there Bayes' theorem gives the shares of any clinic.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.inference.adaptation import at_shares, scores_of
from sonoforge.training.statistics import calibration
from sonoforge.training.statistics.intervals import Floats, Labels, wilson_by_group
from sonoforge.training.statistics.predictions import Predictions, pick
from sonoforge.training.statistics.results import Record

AIMS = (0.80, 0.85, 0.90, 0.95, 0.98)
"""Sensitivities of the operating points."""
RAREST = 0.15
"""Smallest share that a network is assumed to expect of any class, relative to equal shares."""
ERRORS = (0.05, 0.1, 0.15, 0.2)
"""Possible target error rates among the labels kept by abstention."""
KEPT = 1 / 3
"""Share of labels that abstention must keep to be useful."""
MOST_ALIKE = 100
"""Most images of a class that a collection counts for: a new scanner is no likelier to resemble the largest one."""
ALL_IMAGES = "all images"
"""Name of the only collection in a set without names."""
QUESTIONS = {"lesion": ({"benign", "malignant"}, {"normal"}), "malignant": ({"malignant"}, {"benign"})}
"""Name, positive and negative classes of each question on breast ultrasound."""


def collection_weights(collections: Sequence[str], chosen: NDArray[np.bool_]) -> Floats:
    """Return weights of the chosen images that sum to 1; no collection counts more than `MOST_ALIKE` images do."""
    where = np.array(collections)[chosen] if collections else np.zeros(int(chosen.sum()), dtype=int)
    _, source, counts = np.unique(where, return_inverse=True, return_counts=True)
    weights: Floats = (np.minimum(counts, MOST_ALIKE) / counts)[source]
    weights /= weights.sum()
    return weights


class Abstention(NamedTuple):
    """Labels less probable than this are withheld, so that at most a share ``error`` of the others is wrong."""

    error: float
    least_probability: float


def choose_abstention(part: Predictions, equal: Floats) -> Abstention:
    """Return the strictest of `ERRORS` at which `KEPT` of the labels are kept, or the last.

    ``equal`` (N, C) are probabilities at equally frequent classes.  All classes count equally; within a class, images
    have their `collection_weights`.
    """
    weights = np.zeros(len(part.labels))
    for label in np.unique(part.labels):
        weights[part.labels == label] = collection_weights(part.collections, part.labels == label)
    (risk,), (kept,), least = calibration.risks(equal.argmax(axis=1) != part.labels, equal.max(axis=1), weights[None])
    for error in ERRORS:
        allowed = np.flatnonzero(risk <= error)
        if len(allowed) and kept[allowed[-1]] >= KEPT * weights.sum():
            return Abstention(error, float(least[allowed[-1]]))
    return Abstention(ERRORS[-1], float(least[allowed[-1]]) if len(allowed) else 1.0)


def reference_shares(labels: Labels, repeats: Floats) -> Floats:
    """Return the class shares (C,) that a network assumes: its training's, from images labelled (N,).

    ``repeats`` (C,) are images or weight that training had for each real image of a class; 1 if nothing was added. No
    class counts as rarer than `RAREST`: a network that saw four normal scans among 2131 does not expect them that
    rarely, because the surroundings of every lesion are normal too.
    """
    counts = np.bincount(labels, minlength=len(repeats)) * repeats
    shares: Floats = np.maximum(counts / counts.sum(), RAREST / len(repeats))
    shares /= shares.sum()
    return shares


def equal_shares(probabilities: Floats, reference: Floats) -> Floats:
    """Return probabilities (N, C) at equally frequent classes.

    ``reference`` holds the class shares that the network assumes, (C,) or for each answer (N, C).
    """
    return at_shares(probabilities, 1 / reference)


def equal_by_fold(part: Predictions, repeats: Floats) -> list[calibration.Calibrated]:
    """Return all answers at equally frequent classes, once for each fold and without that fold's labels.

    The temperature comes from the other folds' answers; each answer is divided by the class shares that its own network
    was trained on.
    """
    shares = _shares_of_networks(part, repeats)
    return [
        calibration.Calibrated(test, equal_shares(probabilities, shares))
        for test, probabilities in calibration.calibrate(part.labels, part.probabilities, part.parts)
    ]


def equal_in_bundle(part: Predictions, repeats: Floats) -> Floats:
    """Return all answers (N, C) at equally frequent classes and the bundle's temperature, for its thresholds."""
    temperature = calibration.fit_temperature(part.labels, part.probabilities)
    return equal_shares(
        calibration.apply_temperature(part.probabilities, temperature), _shares_of_networks(part, repeats)
    )


def _shares_of_networks(part: Predictions, repeats: Floats) -> Floats:
    """Return the class shares (N, C) that each image's network was trained on: the other folds', or all if one fold."""
    shares = np.empty_like(part.probabilities)
    for fold in np.unique(part.parts):
        test = part.parts == fold
        shares[test] = reference_shares(part.labels[test if test.all() else ~test], repeats)
    return shares


class Asked(NamedTuple):
    """A question about N images: which it concerns, which are positive, and all scores; (N,) each."""

    about: NDArray[np.bool_]
    positive: NDArray[np.bool_]
    scores: Floats


def ask(labels: Labels, equal: Floats, classes: Sequence[str], name: str) -> Asked | None:
    """Ask a question of probabilities (N, C) for equally frequent classes; None for classes of another kind."""
    wanted, others = QUESTIONS[name]
    if not wanted | others <= set(classes) or not set(classes) <= {"normal", "benign", "malignant"}:
        return None
    positive = np.array([one in wanted for one in classes])
    about = positive | np.array([one in others for one in classes])
    return Asked(about[labels], positive[labels], scores_of(equal, positive, about))


def threshold_for(aim: float, scores: Floats, weights: Floats) -> float:
    """Return the largest threshold that a share ``aim`` of the positive images' weights (N,) reaches."""
    order = np.argsort(-scores, kind="stable")
    reached = np.cumsum(weights[order]) / weights.sum()
    place = min(int(np.searchsorted(reached, aim - 1e-9)), len(scores) - 1)
    return float(scores[order][place])


def _choose_points(
    asked: Asked, by_fold: Sequence[tuple[NDArray[np.bool_], Floats]], collections: Sequence[str]
) -> list[Record]:
    """Choose operating points on all images, weighted by `collection_weights`, and measure them fold by fold.

    ``by_fold`` has each fold's images, and all scores (N,) computed without its labels.
    """
    positive, negative = asked.about & asked.positive, asked.about & ~asked.positive

    def choose(aim: float, scores: Floats, chosen: NDArray[np.bool_]) -> float:
        return threshold_for(aim, scores[chosen], collection_weights(collections, chosen))

    points = []
    for aim in AIMS:
        called = np.zeros(len(positive), dtype=bool)
        for test, scores in by_fold:
            others = positive & ~test
            called[test] = scores[test] >= choose(aim, scores, others if others.any() else positive)
        points.append(
            {
                "aim": aim,
                "threshold": choose(aim, asked.scores, positive),
                "sensitivity": float(called[positive].mean()),
                "specificity": float(1 - called[negative].mean()),
            }
        )
    return points


def fit_decision(
    part: Predictions, classes: Sequence[str], repeats: Floats, by_fold: Sequence[calibration.Calibrated]
) -> Record:
    """Fit a bundle's decision rules: its training's class shares, and operating points on held-out answers.

    See `reference_shares` for ``repeats`` (C,) and `equal_by_fold` for ``by_fold``.
    """
    questions, equal = [], equal_in_bundle(part, repeats)
    for name, (wanted, others) in QUESTIONS.items():
        asked = ask(part.labels, equal, classes, name)
        if asked and (asked.about & asked.positive).any() and (asked.about & ~asked.positive).any():
            each = [(test, ask(part.labels, own, classes, name)) for test, own in by_fold]
            scores = [(test, one.scores) for test, one in each if one]
            questions.append(
                {
                    "name": name,
                    "positive": [one for one in classes if one in wanted],
                    "among": [one for one in classes if one in wanted | others],
                    "points": _choose_points(asked, scores, part.collections),
                }
            )
    return {
        "reference": dict(zip(classes, reference_shares(part.labels, repeats).tolist(), strict=True)),
        "protocol": f"class shares of the training; operating points chosen on out-of-fold predictions of "
        f"{len(part.labels)} images, no collection counting more than {MOST_ALIKE} of a class",
        "questions": questions,
    }


def set_thresholds(labels: Labels, equal: Floats, collections: Sequence[str], alpha: float) -> Floats:
    """Return the probability at equally frequent classes at which each class enters the prediction set, (C,).

    It works like `calibration.conformal_thresholds`, with images weighted by `collection_weights`.
    """
    thresholds = np.zeros(equal.shape[1])
    for label in np.unique(labels):
        own = labels == label
        order = np.argsort(equal[own, label])
        count = int(own.sum())
        reached = np.cumsum(collection_weights(collections, own)[order]) * count / (count + 1)
        below = int(np.searchsorted(reached, alpha + 1e-9, side="right")) - 1
        if below >= 0:
            thresholds[label] = equal[own, label][order][below]
    return thresholds


def measure_decision(
    part: Predictions, classes: Sequence[str], by_fold: Sequence[calibration.Calibrated], alpha: float
) -> dict[str, Record]:
    """Measure decisions at equally frequent classes in each collection; one without a name is `ALL_IMAGES`.

    ``by_fold`` is `equal_by_fold` of the answers.
    """
    labels, equal = part.labels, calibration.own_answers(by_fold)
    inside = np.eye(len(classes), dtype=bool)[equal.argmax(axis=1)]
    for test, own in by_fold:
        others = ~test if not test.all() else test
        sources = pick(part.collections, np.flatnonzero(others))
        inside[test] |= own[test] >= set_thresholds(labels[others], own[others], sources, alpha)
    names = np.array(part.collections) if part.collections else np.full(len(labels), ALL_IMAGES)
    return {
        str(name): _figures(
            part.reordered(np.flatnonzero(names == name)), classes, equal[names == name], inside[names == name]
        )
        for name in np.unique(names)
    }


def _figures(part: Predictions, classes: Sequence[str], equal: Floats, inside: NDArray[np.bool_]) -> Record:
    labels, called = part.labels, equal.argmax(axis=1)
    present = np.unique(labels)
    shares = np.maximum(np.bincount(labels, minlength=len(classes)), 0.5) / len(labels)
    own = at_shares(equal, shares)
    sensitivity = {classes[i]: wilson_by_group((called == i)[labels == i], part.groups[labels == i]) for i in present}
    return {
        "images": len(labels),
        "balanced_accuracy": float(np.mean([one["value"] for one in sensitivity.values()])),
        "sensitivity": sensitivity,
        "called": {name: float((called == i).mean()) for i, name in enumerate(classes)},
        "coverage": {classes[i]: wilson_by_group(inside[labels == i, i], part.groups[labels == i]) for i in present},
        "mean_set_size": float(inside.sum(axis=1).mean()),
        "single_class": float((inside.sum(axis=1) == 1).mean()),
        "accuracy_at_own_shares": wilson_by_group(own.argmax(axis=1) == labels, part.groups),
        "ece_at_own_shares": calibration.expected_calibration_error(labels, own),
    }
