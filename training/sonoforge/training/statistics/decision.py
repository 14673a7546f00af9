"""Fit a bundle's decision rules, reference shares and operating points, and measure them on held-out images.

The reference holds the class shares that the network's probabilities assume. Dividing by them makes all classes equally
frequent; from there Bayes' theorem gives the shares of any clinic.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.bundle.classification import OperatingPoint
from sonoforge.runtime.inference.adaptation import Asked, Decided, Rules, at_shares, decide_all, scores_of
from sonoforge.runtime.inference.decision import BREAST, SENSITIVITY
from sonoforge.training.statistics import calibration
from sonoforge.training.statistics.intervals import Floats, Labels, wilson_by_group
from sonoforge.training.statistics.predictions import Predictions, pick
from sonoforge.training.statistics.results import Record
from sonoforge.training.statistics.tables import ALPHA

AIMS = (0.80, 0.85, 0.90, 0.95, 0.98, 0.995)
"""Sensitivities of the operating points."""
EVEN = (0.85, 0.70)
"""Sensitivity and specificity of the malignant label from which the default shares stay as far as they can."""
MISSED = 0.05
"""Largest share of a collection's lesions that the default shares may call normal."""
FEWEST = 20
"""Fewest images of a kind for a collection to have a say in a threshold of its own."""
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


def choose_abstention(part: Predictions, probabilities: Floats) -> Abstention:
    """Return the strictest of `ERRORS` at which `KEPT` of the labels are kept, or the last.

    ``probabilities`` (N, C) are those at the default shares.  All classes count equally; within a class, images have
    their `collection_weights`.
    """
    weights = np.zeros(len(part.labels))
    for label in np.unique(part.labels):
        weights[part.labels == label] = collection_weights(part.collections, part.labels == label)
    (risk,), (kept,), least = calibration.risks(
        probabilities.argmax(axis=1) != part.labels, probabilities.max(axis=1), weights[None]
    )
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


def threshold_for(aim: float, scores: Floats, weights: Floats) -> float:
    """Return the largest threshold that a share ``aim`` of the positive images' weights (N,) reaches."""
    order = np.argsort(-scores, kind="stable")
    reached = np.cumsum(weights[order]) / weights.sum()
    place = min(int(np.searchsorted(reached, aim - 1e-9)), len(scores) - 1)
    return float(scores[order][place])


def _each_collection(collections: Sequence[str], chosen: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
    """Return the chosen images (N,) of each collection that has `FEWEST` of them; all if none does."""
    names = np.array(collections)
    own = [chosen & (names == name) for name in np.unique(names)]
    return [each for each in own if each.sum() >= FEWEST] or [chosen]


def _ask(labels: Labels, equal: Floats, classes: Sequence[str], collections: Sequence[str], name: str) -> Asked | None:
    """Choose a question's operating points; None for classes of another kind.

    A question about all classes must not miss a new hospital's lesions: where there are several collections, the
    strictest decides, with a quarter of the misses allowed.
    """
    wanted, others = QUESTIONS[name]
    if not wanted | others <= set(classes) or not set(classes) <= BREAST:
        return None
    positive = np.array([one in wanted for one in classes])
    about = positive | np.array([one in others for one in classes])
    chosen, scores = positive[labels], scores_of(equal, positive, about)
    each = _each_collection(collections, chosen) if about.all() else [chosen]
    if not chosen.any():
        points = [0.0] * len(AIMS)
    elif len(each) > 1:
        points = [min(threshold_for((3 + aim) / 4, scores[own], np.ones(own.sum())) for own in each) for aim in AIMS]
    else:
        weights = collection_weights(collections, chosen)
        points = [threshold_for(aim, scores[chosen], weights) for aim in AIMS]
    return Asked(name, positive, about, np.array(AIMS), np.array(points))


def default_shares(labels: Labels, equal: Floats, classes: Sequence[str], collections: Sequence[str]) -> Floats:
    """Return the class shares (C,) whose labels are the most even between collections; equal ones for other classes.

    Of malignant and benign, they keep the label's sensitivity and specificity above `EVEN` in every collection, or
    come as near to it as they can. Of normal, it is the largest share at which no collection has more than `MISSED`
    of its lesions called normal.
    """
    if set(classes) != BREAST or len(np.unique(labels)) < len(classes):
        return np.full(len(classes), 1 / len(classes))
    normal, benign, malignant = (list(classes).index(name) for name in ("normal", "benign", "malignant"))
    logs = np.log(np.clip(equal, 1e-12, None))
    odds = logs[:, malignant] - logs[:, benign]
    levels = np.unique(odds[labels != normal])
    limits = (levels[:-1] + levels[1:]) / 2

    def below(kind: int) -> Floats:  # the share of a kind below each limit, by collection
        each = _each_collection(collections, labels == kind)
        return np.stack([np.searchsorted(np.sort(odds[own]), limits) / own.sum() for own in each])

    worst = np.minimum(1 - below(malignant).max(axis=0) - EVEN[0], below(benign).min(axis=0) - EVEN[1])
    best = limits[worst >= worst.max() - 1e-9]
    limit = float(best[len(best) // 2])
    ahead = logs[:, normal] - np.maximum(logs[:, benign], logs[:, malignant] - limit)
    lead = max(float(np.quantile(ahead[own], 1 - MISSED)) for own in _each_collection(collections, labels != normal))
    weights = np.ones(len(classes))
    weights[malignant], weights[normal] = np.exp(-limit), np.exp(-lead)
    return np.asarray(weights / weights.sum())


def set_thresholds(labels: Labels, equal: Floats, collections: Sequence[str], alpha: float) -> Floats:
    """Return the probability at equally frequent classes at which each class enters the prediction set, (C,).

    It works like `calibration.conformal_thresholds`, with images weighted by `collection_weights`; a class with too few
    images for ``alpha`` gets the smallest of their probabilities.
    """
    thresholds = np.zeros(equal.shape[1])
    for label in np.unique(labels):
        own = labels == label
        order = np.argsort(equal[own, label])
        count = int(own.sum())
        reached = np.cumsum(collection_weights(collections, own)[order]) * count / (count + 1)
        below = int(np.searchsorted(reached, alpha + 1e-9, side="right")) - 1
        thresholds[label] = equal[own, label][order][max(below, 0)]
    return thresholds


def choose_rules(labels: Labels, equal: Floats, classes: Sequence[str], collections: Sequence[str]) -> Rules:
    """Choose all that decides, from answers to N images that their networks had not seen.

    Args:
        labels: (N,) true classes.
        equal: (N, C) probabilities of equally frequent classes.
        classes: Their names.
        collections: The collection of each image; empty if there is only one.
    """
    asked = [_ask(labels, equal, classes, collections, name) for name in QUESTIONS]
    return Rules(
        default_shares(labels, equal, classes, collections),
        set_thresholds(labels, equal, collections, ALPHA),
        np.full(len(classes), 1 / len(classes)),
        ALPHA,
        tuple(one for one in asked if one),
    )


def decide_by_fold(part: Predictions, classes: Sequence[str], by_fold: Sequence[calibration.Calibrated]) -> Decided:
    """Decide about all images, each fold's by the rules that the other folds' answers choose.

    ``by_fold`` is `equal_by_fold` of the answers.
    """
    found: list[Decided] = []
    for test, equal in by_fold:
        others = np.flatnonzero(~test if not test.all() else test)
        rules = choose_rules(part.labels[others], equal[others], classes, pick(part.collections, others))
        found.append(decide_all(equal, rules))
    places = np.argmax([test for test, _ in by_fold], axis=0), np.arange(len(part.labels))
    labels, sets = np.stack([one.labels for one in found])[places], np.stack([one.sets for one in found])[places]
    beyond = [np.stack(each)[places] for each in zip(*(one.beyond for one in found), strict=True)]
    return Decided(labels, sets, tuple(beyond))


def record_decision(
    part: Predictions, classes: Sequence[str], repeats: Floats, rules: Rules, held_out: Decided
) -> Record:
    """Record a bundle's decision rules: shares of its classes, and operating points.

    See `reference_shares` for ``repeats`` (C,).  ``rules`` are `choose_rules` of the held-out answers ``part``;
    ``held_out`` is `decide_by_fold`, which measures the points.
    """
    questions = []
    for question, beyond in zip(rules.questions, held_out.beyond, strict=True):
        positive, negative = question.positive[part.labels], (question.among & ~question.positive)[part.labels]
        if positive.any() and negative.any():
            points = zip(AIMS, question.thresholds, beyond[positive].mean(0), 1 - beyond[negative].mean(0), strict=True)
            questions.append(
                {
                    "name": question.name,
                    "positive": [name for name, own in zip(classes, question.positive, strict=True) if own],
                    "among": [name for name, own in zip(classes, question.among, strict=True) if own],
                    "points": [dict(zip(OperatingPoint._fields, map(float, point), strict=True)) for point in points],
                }
            )
    return {
        "reference": dict(zip(classes, reference_shares(part.labels, repeats).tolist(), strict=True)),
        "default": dict(zip(classes, rules.prevalence.tolist(), strict=True)),
        "protocol": f"reference: class shares of the training; default shares and operating points chosen on "
        f"out-of-fold predictions of {len(part.labels)} images, no collection counting more than {MOST_ALIKE} of a "
        "class",
        "questions": questions,
    }


def measure_decision(part: Predictions, classes: Sequence[str], equal: Floats, held_out: Decided) -> dict[str, Record]:
    """Measure the default decisions about each collection; one without a name is `ALL_IMAGES`.

    ``equal`` (N, C) are probabilities of equally frequent classes, ``held_out`` is `decide_by_fold`.
    """
    names = np.array(part.collections) if part.collections else np.full(len(part.labels), ALL_IMAGES)
    found = {}
    for name in np.unique(names):
        own = names == name
        here = Decided(held_out.labels[own], held_out.sets[own], tuple(beyond[own] for beyond in held_out.beyond))
        found[str(name)] = _figures(part.reordered(np.flatnonzero(own)), classes, equal[own], here)
    return found


def _figures(part: Predictions, classes: Sequence[str], equal: Floats, decided: Decided) -> Record:
    labels, called, inside = part.labels, decided.labels, decided.sets
    present = np.unique(labels)
    shares = np.maximum(np.bincount(labels, minlength=len(classes)), 0.5) / len(labels)
    own = at_shares(equal, shares)
    sensitivity = {classes[i]: wilson_by_group((called == i)[labels == i], part.groups[labels == i]) for i in present}
    specificity = {classes[i]: wilson_by_group((called != i)[labels != i], part.groups[labels != i]) for i in present}
    return {
        "images": len(labels),
        "balanced_accuracy": float(np.mean([one["value"] for one in sensitivity.values()])),
        "sensitivity": sensitivity,
        "specificity": specificity,
        "lesion": _find_lesions(labels, classes, decided),
        "called": {name: float((called == i).mean()) for i, name in enumerate(classes)},
        "covered": wilson_by_group(inside[np.arange(len(labels)), labels], part.groups),
        "coverage": {classes[i]: wilson_by_group(inside[labels == i, i], part.groups[labels == i]) for i in present},
        "mean_set_size": float(inside.sum(axis=1).mean()),
        "single_class": float((inside.sum(axis=1) == 1).mean()),
        "accuracy_at_own_shares": wilson_by_group(own.argmax(axis=1) == labels, part.groups),
        "ece_at_own_shares": calibration.expected_calibration_error(labels, own),
    }


def _find_lesions(labels: Labels, classes: Sequence[str], decided: Decided) -> Record:
    """Measure the question of a lesion at its default point, and sets of "normal" alone; empty for other classes."""
    if set(classes) != BREAST:
        return {}
    lesion, normal = labels != list(classes).index("normal"), decided.sets[:, list(classes).index("normal")]
    found, alone = decided.beyond[0][:, AIMS.index(SENSITIVITY)], normal & (decided.sets.sum(axis=1) == 1)
    sides = {"sensitivity": (found, lesion), "specificity": (~found, ~lesion)}
    sides |= {"calm": (alone, lesion), "cleared": (alone, ~lesion)}
    return {name: float(counted[side].mean()) for name, (counted, side) in sides.items() if side.any()}
