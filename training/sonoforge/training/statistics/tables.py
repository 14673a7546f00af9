"""From `predictions.csv` to every figure of the tables; nothing else is read, so anyone can recompute them."""

from collections.abc import Sequence

import numpy as np

from sonoforge.training.statistics import calibration, classification, flagged, intervals
from sonoforge.training.statistics.by_source import describe_sources
from sonoforge.training.statistics.intervals import Floats, group_bootstrap, wilson_by_group
from sonoforge.training.statistics.learning_curve import learning_curves, split_share
from sonoforge.training.statistics.one_against_rest import compare_one_against_rest, describe_one_against_rest
from sonoforge.training.statistics.predictions import Predictions
from sonoforge.training.statistics.results import (
    ArmFigures,
    ComparisonRow,
    ConformalResult,
    EvaluatedArm,
    Evaluation,
    FoldAccuracy,
    NeverRight,
    RiskCoverage,
    SeedFigures,
    WrongCluster,
)

POINTS = 120
"""Of a risk-coverage curve, at most."""
ALPHA = 0.1
"""Error rate of the conformal sets (evidence protocol: sets at 90 %)."""


def describe_arm(part: Predictions, classes: Sequence[str]) -> ArmFigures:
    """Compute all figures of one arm with one seed."""
    labels, raw = part.labels, part.probabilities
    calibrated = calibration.cross_fitted_temperature(labels, raw, part.parts)
    confusion = classification.confusion_matrix(labels, part.predicted, len(classes))
    by_fold = [classification.accuracy(labels[part.folds == f], raw[part.folds == f]) for f in np.unique(part.folds)]
    coverage, set_size = calibration.conformal_coverage(labels, calibrated, part.parts, ALPHA)
    balanced_accuracy, macro_f1, macro_auc = (
        group_bootstrap(figure, labels, raw, part.groups)
        for figure in (classification.balanced_accuracies, classification.macro_f1s, classification.macro_aucs)
    )
    sensitivity, specificity = (
        {name: figure(labels, part.predicted, part.groups, i) for i, name in enumerate(classes)}
        for figure in (classification.sensitivity, classification.specificity)
    )
    figures = ArmFigures(
        images=len(labels),
        groups=len(np.unique(part.groups)),
        confusion=confusion.tolist(),
        sensitivity=sensitivity,
        specificity=specificity,
        accuracy=wilson_by_group(part.predicted == labels, part.groups),
        balanced_accuracy=balanced_accuracy,
        macro_f1=macro_f1,
        macro_auc=macro_auc,
        fold_accuracy=FoldAccuracy(
            mean=float(np.mean(by_fold)),
            sd=float(np.std(by_fold, ddof=1)) if len(by_fold) > 1 else None,
            values=by_fold,
        ),
        ece=calibration.expected_calibration_error(labels, raw),
        ece_calibrated=calibration.expected_calibration_error(labels, calibrated),
        brier=calibration.brier_score(labels, raw),
        brier_calibrated=calibration.brier_score(labels, calibrated),
        temperature=calibration.fit_temperature(labels, raw),
        conformal=ConformalResult(
            alpha=ALPHA, coverage=dict(zip(classes, coverage.tolist(), strict=True)), mean_set_size=set_size
        ),
        risk_coverage=_risk_coverage(part, calibrated),
        one_against_rest={
            name: describe_one_against_rest(part, calibrated, label) for label, name in enumerate(classes)
        },
    )
    sources = describe_sources(part, classes, calibrated, ALPHA)
    if sources:
        figures["by_source"] = sources
    return figures


def _risk_coverage(part: Predictions, calibrated: Floats) -> RiskCoverage:
    wrong, sure = part.predicted != part.labels, calibrated.max(axis=1)
    (risk,), (kept,), _ = flagged.risks(wrong, sure, np.ones((1, len(wrong))))
    shown = np.linspace(0, len(kept) - 1, min(len(kept), POINTS)).astype(int)
    return RiskCoverage(
        targets=flagged.cuts(wrong, sure, part.groups),
        area=flagged.area_under_risk(wrong, sure),
        curve=[(float(kept[i]) / len(wrong), float(risk[i])) for i in shown],
    )


def compare_arms(first: Predictions, second: Predictions, classes: Sequence[str]) -> ComparisonRow:
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
    return ComparisonRow(
        first=first.arm,
        second=second.arm,
        seed=first.seed,
        accuracy_difference=accuracy,
        macro_auc_difference=macro_auc,
        sign_flip_test=intervals.sign_flip_test(first_right, second_right, first.groups),
        minimum_detectable_difference=intervals.minimum_detectable_difference(first_right, second_right, first.groups),
        one_against_rest={name: compare_one_against_rest(first, second, label) for label, name in enumerate(classes)},
    )


def evaluate(predictions: Sequence[Predictions], classes: Sequence[str]) -> Evaluation:
    """Compute the figures of every arm, and compare each arm with the first one that has as many real images."""
    arms = {}
    for name in dict.fromkeys(part.arm for part in predictions):
        own = [part for part in predictions if part.arm == name]
        accuracies = [classification.accuracy(part.labels, part.probabilities) for part in own]
        seeds = SeedFigures(
            seeds=[part.seed for part in own],
            accuracy=accuracies,
            macro_auc=[classification.macro_auc(part.labels, part.probabilities) for part in own],
            accuracy_sd=float(np.std(accuracies, ddof=1)) if len(own) > 1 else None,
        )
        arms[name] = EvaluatedArm(**describe_arm(own[0], classes), seeds=seeds)
    baselines: dict[float, Predictions] = {}
    comparisons = []
    for part in (part for part in predictions if part.seed == predictions[0].seed):
        _, share = split_share(part.arm)
        baseline = baselines.setdefault(share, part)
        if part is not baseline:
            comparisons.append(compare_arms(baseline, part, classes))
    evaluation = Evaluation(arms=arms, comparisons=comparisons, never_right=never_right(predictions, classes))
    curves = learning_curves(predictions)
    if curves:
        evaluation["learning_curves"] = curves
    return evaluation


WORST = 12
"""Groups described, at most."""


def never_right(predictions: Sequence[Predictions], classes: Sequence[str]) -> NeverRight:
    """Find the groups in which every image was answered wrongly by every arm with every seed.

    The worst come first: those of the most images (near-duplicates that all fail are no accident), and among these the
    ones whose true class is thought the least probable.  An image that some arm did not predict is left out.
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
    return NeverRight(
        groups=len(found),
        images=int(sizes[found].sum()),
        of_groups=len(sizes),
        of_images=len(kept),
        worst=[
            WrongCluster(
                files=[first.files[i] for i in members],
                labels=[classes[first.labels[i]] for i in members],
                answers=[classes[int(np.bincount(answers[:, i]).argmax())] for i in members],
                probability=float(mean[own]),
            )
            for own in worst
            for members in [np.flatnonzero(group == own)]
        ],
    )
