"""Compute every figure of the tables from `predictions.csv`; nothing else is read, so anyone can recompute them.

This includes figures by collection and by device, because a pooled figure hides a scanner that a model cannot read.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sonoforge.training.statistics import calibration, classification, intervals, one_against_rest, results
from sonoforge.training.statistics.calibration import Calibrated, expected_calibration_errors, in_sets, own_answers
from sonoforge.training.statistics.classification import auc_by_group, each_against_rest
from sonoforge.training.statistics.intervals import Floats, Labels, group_bootstrap, wilson_by_group
from sonoforge.training.statistics.predictions import SHARE_MARK, Predictions

MACRO = "each class against the rest, mean"
"""Name of the macro-AUC among the areas; only sets with all classes have it."""


def describe_sources(
    part: Predictions, classes: Sequence[str], by_fold: Sequence[Calibrated], alpha: float
) -> list[results.Record]:
    """Compute the figures of each known collection, then of each known device.

    Collections need not have all classes, so they are compared by the AUC of two classes: on these classes' images, by
    the probability of one of the two.  Temperature, prediction sets (of error rate ``alpha``) and thresholds are fitted
    on the other folds; ``by_fold`` is by `calibration.calibrate`.
    """
    covered = in_sets(part.labels, by_fold, alpha)[np.arange(len(part.labels)), part.labels]
    calibrated = own_answers(by_fold)
    return [
        describe_source((kind, name), part, np.array(column) == name, classes, (calibrated, covered))
        for kind, column in (("collection", part.collections), ("device", part.devices))
        for name in sorted(set(column) - {""})
    ]


def describe_source(
    named: tuple[str, str],
    whole: Predictions,
    own: NDArray[np.bool_],
    classes: Sequence[str],
    judged: tuple[Floats, NDArray[np.bool_]],
) -> results.Record:
    """Compute the figures of some of the images (N,), named by kind and name.

    ``judged`` are calibrated probabilities (N, C), and whether the prediction set holds the true class (N,).
    """
    kind, name = named
    calibrated, covered = judged
    part = whole.reordered(np.flatnonzero(own))
    counts = np.bincount(part.labels, minlength=len(classes))
    return {
        "kind": kind,
        "name": name,
        "images": {own: int(count) for own, count in zip(classes, counts, strict=True)},
        "groups": len(np.unique(part.groups)),
        "accuracy": wilson_by_group(part.predicted == part.labels, part.groups),
        "auc": pair_areas(part, classes),
        "sensitivity_at": one_against_rest.sensitivity_at(whole, classes, own),
        "ece": group_bootstrap(expected_calibration_errors, part.labels, calibrated[own], part.groups),
        "coverage": wilson_by_group(covered[own], part.groups),
    }


def second_of_two(pair: Floats) -> Floats:
    """Return the probability (N,) of the second of two classes (N, 2), as a share of both, which may be 0."""
    return np.asarray(pair[:, 1] / np.maximum(pair.sum(axis=1), np.finfo(float).tiny))


class ToldApart(NamedTuple):
    """The two kinds of images, among N, that an AUC separates: two classes, or one against all others."""

    name: str
    chosen: NDArray[np.bool_]  # (N,) the images of both
    positive: NDArray[np.bool_]  # of the chosen ones, whether each is of the first kind
    scores: Callable[[Floats], Floats]  # from the probabilities (M, C) of the chosen ones to their scores (M,)


def told_apart(labels: Labels, classes: Sequence[str]) -> Iterator[ToldApart]:
    """Yield every two classes that occur, as ``worse against better``, then the first against the others."""
    present = np.unique(labels).tolist()
    for other, own in combinations(present, 2):
        chosen = np.isin(labels, (other, own))
        yield ToldApart(f"{classes[own]} against {classes[other]}", chosen, labels[chosen] == own, _second(other, own))
    if len(present) > 2:
        first = present[0]
        everywhere = np.ones(len(labels), bool)
        yield ToldApart(f"{classes[first]} against the rest", everywhere, labels == first, lambda p: p[:, first])


def _second(other: int, own: int) -> Callable[[Floats], Floats]:
    return lambda probabilities: second_of_two(probabilities[:, [other, own]])


def pair_areas(part: Predictions, classes: Sequence[str]) -> dict[str, results.Interval]:
    """Return the AUC of every two classes that occur, for `results.SourceFigures`."""
    areas = {
        kinds.name: auc_by_group(
            [(kinds.positive, kinds.scores(part.probabilities[kinds.chosen]))], part.groups[kinds.chosen]
        )
        for kinds in told_apart(part.labels, classes)
    }
    if len(np.unique(part.labels)) == len(classes) > 2:
        areas[MACRO] = auc_by_group(each_against_rest(part.labels, part.probabilities), part.groups)
    return areas


POINTS = 120
"""Most points of a risk-coverage curve."""
ALPHA = 0.1
"""Error rate of the conformal sets (evidence protocol: sets at 90 %)."""


def describe_arm(part: Predictions, classes: Sequence[str]) -> results.Record:
    """Compute all figures of one arm with one seed; ``by_source`` where several collections, or devices, are known."""
    labels, raw = part.labels, part.probabilities
    calibrated_by_fold = calibration.calibrate(labels, raw, part.parts)
    calibrated = own_answers(calibrated_by_fold)
    confusion = classification.confusion_matrix(labels, part.predicted, len(classes))
    by_fold = [classification.accuracy(labels[part.folds == f], raw[part.folds == f]) for f in np.unique(part.folds)]
    coverage, set_size = calibration.conformal_coverage(labels, calibrated_by_fold, ALPHA)
    balanced_accuracy, macro_f1 = (
        group_bootstrap(figure, labels, raw, part.groups)
        for figure in (classification.balanced_accuracies, classification.macro_f1s)
    )
    macro_auc = auc_by_group(each_against_rest(labels, raw), part.groups)
    sensitivity, specificity = (
        {name: figure(labels, part.predicted, part.groups, i) for i, name in enumerate(classes)}
        for figure in (classification.sensitivity, classification.specificity)
    )
    sources = describe_sources(part, classes, calibrated_by_fold, ALPHA)
    return dict(
        images=len(labels),
        groups=len(np.unique(part.groups)),
        confusion=confusion.tolist(),
        sensitivity=sensitivity,
        specificity=specificity,
        accuracy=wilson_by_group(part.predicted == labels, part.groups),
        balanced_accuracy=balanced_accuracy,
        macro_f1=macro_f1,
        macro_auc=macro_auc,
        fold_accuracy={
            "mean": float(np.mean(by_fold)),
            "sd": float(np.std(by_fold, ddof=1)) if len(by_fold) > 1 else None,
            "values": by_fold,
        },
        ece=calibration.expected_calibration_error(labels, raw),
        ece_calibrated=calibration.expected_calibration_error(labels, calibrated),
        brier=calibration.brier_score(labels, raw),
        brier_calibrated=calibration.brier_score(labels, calibrated),
        temperature=calibration.fit_temperature(labels, raw),
        conformal={
            "alpha": ALPHA,
            "coverage": dict(zip(classes, coverage.tolist(), strict=True)),
            "mean_set_size": set_size,
        },
        risk_coverage=_risk_coverage(part, calibrated),
        one_against_rest={
            name: one_against_rest.describe_one_against_rest(part, calibrated, label)
            for label, name in enumerate(classes)
        },
        guessing=_against_guessing(part, classes, macro_auc),
        **({"by_source": sources} if sources else {}),
    )


def _against_guessing(part: Predictions, classes: Sequence[str], macro_auc: results.Interval) -> results.Record:
    counts = np.bincount(part.labels, minlength=len(classes))
    most = int(counts.argmax())
    always = np.tile(np.eye(len(classes))[most], (len(part.labels), 1))
    gain = intervals.paired_bootstrap(classification.accuracies, part.labels, always, part.probabilities, part.groups)
    return {
        "label": classes[most],
        "share": float(counts[most] / len(part.labels)),
        "gain": gain,
        "better": gain["low"] > 0 and macro_auc["low"] > 1 / 2,
    }


def _risk_coverage(part: Predictions, calibrated: Floats) -> results.Record:
    wrong, sure = part.predicted != part.labels, calibrated.max(axis=1)
    (risk,), (kept,), _ = calibration.risks(wrong, sure, np.ones((1, len(wrong))))
    shown = np.linspace(0, len(kept) - 1, min(len(kept), POINTS)).astype(int)
    return {
        "targets": calibration.cuts(wrong, sure, part.groups),
        "area": calibration.area_under_risk(wrong, sure),
        "curve": [(float(kept[i]) / len(wrong), float(risk[i])) for i in shown],
    }


def compare_arms(first: Predictions, second: Predictions, classes: Sequence[str]) -> results.ComparisonRow:
    """Compare two arms on the same images, paired by file.

    Raises:
        SonoforgeError: The two did not predict the same images.
    """
    second = second.in_order_of(first)
    first_right, second_right = (part.predicted == first.labels for part in (first, second))
    accuracy, macro_auc = (
        intervals.paired_bootstrap(figure, first.labels, first.probabilities, second.probabilities, groups=first.groups)
        for figure in (classification.accuracies, classification.macro_aucs)
    )
    return results.ComparisonRow(
        first=first.arm,
        second=second.arm,
        seed=first.seed,
        accuracy_difference=accuracy,
        macro_auc_difference=macro_auc,
        sign_flip_test=intervals.sign_flip_test(first_right, second_right, first.groups),
        minimum_detectable_difference=intervals.minimum_detectable_difference(first_right, second_right, first.groups),
        one_against_rest={
            name: one_against_rest.compare_one_against_rest(first, second, label) for label, name in enumerate(classes)
        },
    )


def evaluate(predictions: Sequence[Predictions], classes: Sequence[str]) -> results.Record:
    """Compute the figures of every arm, and compare each arm with the first one with as many real images."""
    arms = {}
    for name in dict.fromkeys(part.arm for part in predictions):
        own = [part for part in predictions if part.arm == name]
        accuracies = [classification.accuracy(part.labels, part.probabilities) for part in own]
        seeds = {
            "seeds": [part.seed for part in own],
            "accuracy": accuracies,
            "macro_auc": [classification.macro_auc(part.labels, part.probabilities) for part in own],
            "accuracy_sd": float(np.std(accuracies, ddof=1)) if len(own) > 1 else None,
        }
        arms[name] = dict(**describe_arm(own[0], classes), seeds=seeds)
    baselines: dict[str, Predictions] = {}
    comparisons = []
    for part in (part for part in predictions if part.seed == predictions[0].seed):
        baseline = baselines.setdefault(part.arm.partition(SHARE_MARK)[2], part)
        if part is not baseline:
            comparisons.append(compare_arms(baseline, part, classes))
    return {"arms": arms, "comparisons": comparisons, "never_right": never_right(predictions, classes)}


WORST = 12
"""Most groups to describe."""


def never_right(predictions: Sequence[Predictions], classes: Sequence[str]) -> results.Record:
    """Find the groups where every arm with every seed answered every image wrongly.

    The worst come first: the largest groups (if all near-duplicates fail, it is no accident), then those with the
    lowest probability of the true class. Images that some arm did not predict are left out.
    """
    first = predictions[0]
    orders = [{file: i for i, file in enumerate(part.files)} for part in predictions]
    kept = [i for i, file in enumerate(first.files) if all(file in order for order in orders)]
    parts = [
        part.reordered(np.array([order[first.files[i]] for i in kept], np.int64))
        for part, order in zip(predictions, orders, strict=True)
    ]
    first = parts[0]
    answers = np.stack([part.predicted for part in parts])
    rows = np.arange(len(kept))
    probability = np.mean([part.probabilities[rows, part.labels] for part in parts], axis=0)
    wrong = (answers != first.labels).all(axis=0)
    _, group = np.unique(first.groups, return_inverse=True)
    sizes = np.bincount(group)
    found = np.flatnonzero(np.bincount(group, weights=wrong) == sizes)
    mean = np.bincount(group, weights=probability) / sizes
    worst = sorted(found.tolist(), key=lambda own: (-sizes[own], mean[own]))[:WORST]
    return {
        "groups": len(found),
        "images": int(sizes[found].sum()),
        "of_groups": len(sizes),
        "of_images": len(kept),
        "worst": [
            {
                "files": [first.files[i] for i in members],
                "labels": [classes[first.labels[i]] for i in members],
                "answers": [classes[int(np.bincount(answers[:, i]).argmax())] for i in members],
                "probability": float(mean[own]),
            }
            for own in worst
            for members in [np.flatnonzero(group == own)]
        ],
    }
