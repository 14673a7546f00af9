"""What ``results.json`` of a comparison holds, key by key, and the names of the protocols."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:  # of Python 3.11
    from typing_extensions import NotRequired

LEAVE_ONE_OUT = "leave-one-collection-out"
OFFICIAL = "official"
"""One fold: the test images chosen by a set's authors."""
PROTOCOLS = ("sealed", "plain", "thesis", "single", LEAVE_ONE_OUT, OFFICIAL)
"""Ways to deal images to folds, see `data.splits.make_plan`."""
ONE_SPLIT = ("single", OFFICIAL)
"""Protocols with one fold, whose other images are never tested."""
SEALED = ("sealed", LEAVE_ONE_OUT, OFFICIAL)
"""Protocols under which no training sees anything of its test images."""


class Interval(TypedDict):
    """An estimate and its 95 % confidence interval."""

    value: float
    low: float
    high: float


def interval_text(figure: Interval, form: str = ".3f") -> str:
    """Return an estimate with its interval, each number in this format: ``0.912 [0.874, 0.950]``; n/a without one."""
    if math.isnan(figure["value"]):  # a share of no images
        return "n/a"
    return f"{figure['value']:{form}} [{figure['low']:{form}}, {figure['high']:{form}}]"


def share_text(figure: Interval) -> str:
    """Return a share with its interval: ``91.2% [87.4%, 95.0%]``."""
    return interval_text(figure, ".1%")


def change_text(figure: Interval) -> str:
    """Return a difference with its interval, signed: ``+0.012 [-0.004, +0.029]``."""
    return interval_text(figure, "+.3f")


class FoldAccuracy(TypedDict):
    """Accuracy of each fold, their mean and standard deviation (None for a single fold)."""

    mean: float
    sd: float | None
    values: list[float]


class ConformalResult(TypedDict):
    """Prediction sets at error rate ``alpha``: measured coverage by class, mean number of classes in a set."""

    alpha: float
    coverage: dict[str, float]
    mean_set_size: float


class Cut(TypedDict):
    """The abstention that keeps the error rate among the remaining scans at ``error``."""

    error: float
    least_probability: float  # labels at least so probable are kept
    abstained: Interval  # share that loses its label; 1 where even the most probable are wrong too often


class RiskCoverage(TypedDict):
    """Abstention by probability: what each target takes, area, and the curve: share kept, error rate."""

    targets: list[Cut]
    area: float
    curve: list[tuple[float, float]]


class FlagResult(TypedDict):
    """Held-out images with a flag: their number, error rates of them and of the others, and the ratio of both."""

    flag: str
    images: int
    errors: Interval
    errors_of_others: Interval
    ratio: Interval | None  # None: too few are flagged, or no other image is wrong
    by_collection: NotRequired[dict[str, Interval]]  # share flagged in each, where there are several


class SensitivityAt(TypedDict):
    """Sensitivity and the specificity reached, with a threshold set for the specificity ``aim`` on the other folds."""

    aim: float
    sensitivity: Interval
    specificity: Interval


class DecisionCurve(TypedDict):
    """Net benefit by threshold, one value for each; acting on nobody has 0."""

    thresholds: list[float]
    net_benefit: list[float]  # of acting from this probability on
    low: list[float]  # ends of its 95 % interval
    high: list[float]
    treat_all: list[float]  # of acting on all
    gain_low: list[float]  # lower 95 % end of its excess over the better of acting on all and on nobody


class OneAgainstRest(TypedDict):
    """One class against the rest, by its probability."""

    auc: Interval
    sensitivity_at: list[SensitivityAt]
    decision_curve: DecisionCurve


class SourceFigures(TypedDict):
    """Images of one collection or device, see `tables.describe_sources`."""

    kind: str  # `collection` or `device`
    name: str
    images: dict[str, int]  # by class
    groups: int
    accuracy: Interval
    auc: dict[str, Interval]  # `malignant against benign`, `normal against the rest`, `tables.MACRO`
    sensitivity_at: dict[str, list[SensitivityAt]]  # by class, against the rest
    ece: Interval  # of calibrated answers
    coverage: Interval  # share of images whose prediction set holds the true class


class Guessing(TypedDict):
    """Comparison with calling every image the most frequent class, which is right for a ``share`` of them."""

    label: str
    share: float
    gain: Interval  # of accuracy over that share
    better: bool  # whether the intervals of the gain and of the macro-AUC lie above 0 and 0.5


class _FiguresOfSome(TypedDict, total=False):
    """Figures that need more than the answers; no `NotRequired`, as `model_folder` asks for the required keys."""

    flags: list[FlagResult]  # where every fold measured trust
    guessing: Guessing  # missing in results of earlier versions
    by_source: list[SourceFigures]  # where several collections, or devices, are known


class ArmFigures(_FiguresOfSome):
    """All figures of one arm with one seed."""

    images: int
    groups: int
    confusion: list[list[int]]
    sensitivity: dict[str, Interval]  # by class
    specificity: dict[str, Interval]
    accuracy: Interval
    balanced_accuracy: Interval
    macro_f1: Interval
    macro_auc: Interval
    fold_accuracy: FoldAccuracy
    ece: float
    ece_calibrated: float
    brier: float
    brier_calibrated: float
    temperature: float
    conformal: ConformalResult
    risk_coverage: RiskCoverage
    one_against_rest: dict[str, OneAgainstRest]  # by class


class SeedFigures(TypedDict):
    """Accuracy and macro-AUC of each seed; the standard deviation is None with one seed."""

    seeds: list[int]
    accuracy: list[float]
    macro_auc: list[float]
    accuracy_sd: float | None


class EvaluatedArm(ArmFigures):
    """The figures of the first seed in full, and of all seeds in short."""

    seeds: SeedFigures


class ArmResult(EvaluatedArm):
    """An arm's figures, and its training with the first seed by fold: learning curve, images added, seconds."""

    title: str
    train_accuracy: float
    train_accuracy_by_seed: list[list[float]]  # by seed, then by fold
    learning_curves: list[list[dict[str, float]]]
    seconds: float
    generated_per_fold: list[int]
    trust: dict[str, list[float]] | None  # `trust.HeldOutTrust` by name; None for comparators


class SignFlipTest(TypedDict):
    """Images that only the first arm, or only the second, got right; the exact two-sided p value by group."""

    first_only: int
    second_only: int
    p_value: float


class SensitivityDifference(TypedDict):
    """Difference in sensitivity, each arm's threshold being set for the specificity ``aim``."""

    aim: float
    difference: Interval


class ClassDifference(TypedDict):
    """Two arms on one class against the rest."""

    auc: Interval
    p_value: float | None  # of the AUC, by DeLong's test summed over groups
    sensitivity_at: list[SensitivityDifference]


class ComparisonRow(TypedDict):
    """Two arms on the same images; differences are ``second - first``."""

    first: str
    second: str
    seed: int
    accuracy_difference: Interval
    macro_auc_difference: Interval
    sign_flip_test: SignFlipTest
    minimum_detectable_difference: float | None  # NaN, in JSON None, where it cannot be computed
    one_against_rest: dict[str, ClassDifference]  # by class


class WrongCluster(TypedDict):
    """A group of images that no arm with any seed answered rightly."""

    files: list[str]
    labels: list[str]
    answers: list[str]  # the most frequent one to each image
    probability: float  # mean probability of the true class


class NeverRight(TypedDict):
    """Numbers of such groups and images, and the worst of them, see `tables.never_right`."""

    groups: int
    images: int
    of_groups: int
    of_images: int
    worst: list[WrongCluster]


class Evaluation(TypedDict):
    """Everything that follows from ``predictions.csv`` alone."""

    arms: dict[str, EvaluatedArm]
    comparisons: list[ComparisonRow]  # each arm against the first one with as many real images
    never_right: NeverRight


class SecondOpinionPair(TypedDict):
    """Two images of different folds that show one scan, or may; ``zoom`` is how much larger the first shows it."""

    file: str
    other: str
    folds: list[int]
    seed: int
    correlation: float
    overlap: float
    zoom: float
    mirrored: bool
    upside_down: bool
    inverted: bool


class SecondOpinion(TypedDict):
    """What the second search found between the folds, see `data.second_opinion`."""

    compared: int
    threshold: float
    leaks: list[SecondOpinionPair]
    possible_second_views: list[SecondOpinionPair]  # of one lesion: less alike than copies, more than other scans
    distinct_by_hand: list[SecondOpinionPair]


class SplitResult(TypedDict):
    """The first seed's folds."""

    protocol: str
    folds: int
    images: int
    groups: int
    fold_sizes: list[int]
    test_images_with_near_duplicate_in_training: list[int]  # by fold
    second_opinion: SecondOpinion
    chosen_on: int  # images that the budget was chosen on, see `crossval.choices`
    fingerprint: str


class FoldChoiceResult(TypedDict):
    """The settings that inner folds chose for one fold, with each candidate's figures on these."""

    settings: dict[str, Any]
    accuracy: list[float]
    cross_entropy: list[float]  # in nats
    seconds: float  # of all inner trainings


class ChoiceResult(TypedDict):
    """Settings of the classifier that were chosen inside each fold, see `crossval.nested_choice`."""

    grid: dict[str, list[Any]]  # values of each setting
    candidates: dict[str, list[dict[str, Any]]]  # by arm: the combinations of the settings that it has
    inner_folds: int
    folds: dict[str, list[list[FoldChoiceResult]]]  # by arm, seed and fold
    trainings: int  # all inner ones
    seconds: float
    final: NotRequired[FoldChoiceResult]  # of ``run``, whose final model is chosen on inner folds of all images


class ComparisonResults(TypedDict):
    """``results.json`` of ``crossval``: how the comparison was made, and what it found."""

    data: str
    classes: list[str]
    class_counts: list[int]
    protocol: str
    budget: str
    classifier: dict[str, Any]  # fields of `ClassifierSettings`
    gan: dict[str, Any]  # fields of `GanSettings`
    weights: str
    arms: dict[str, ArmResult]
    comparisons: list[ComparisonRow]
    never_right: NeverRight
    split: SplitResult
    choice: NotRequired[ChoiceResult]  # where settings were chosen inside the folds


class RunResults(ComparisonResults):
    """``results.json`` of ``run``: the comparison, and what became of the final model."""

    parity: dict[str, Any]  # the ONNX file's row in the gate of the export
    verify: dict[str, Any]  # the verb's result
    bundle_files: dict[str, Any]  # `files` of the manifest
    final_arm: str
    seconds: dict[str, float]  # of each part of the run
