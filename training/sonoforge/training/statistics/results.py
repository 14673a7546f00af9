"""What ``results.json`` of a comparison holds, key by key."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:  # of Python 3.11
    from typing_extensions import NotRequired


LEAVE_ONE_OUT = "leave-one-collection-out"
OFFICIAL = "official"
"""One fold: the test images that a set's authors chose."""
PROTOCOLS = ("sealed", "plain", "thesis", "single", LEAVE_ONE_OUT, OFFICIAL)
ONE_SPLIT = ("single", OFFICIAL)
"""Those with one fold, whose other images are trained on and never tested."""
SEALED = ("sealed", LEAVE_ONE_OUT, OFFICIAL)
"""Those under which no training sees anything of its test images."""


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
    """Accuracy of each fold, their mean and standard deviation (None of a single one)."""

    mean: float
    sd: float | None
    values: list[float]


class ConformalResult(TypedDict):
    """Prediction sets at error rate ``alpha``: measured coverage by class, mean number of classes in a set."""

    alpha: float
    coverage: dict[str, float]
    mean_set_size: float


class Cut(TypedDict):
    """What it takes for an error rate among the scans that keep their label."""

    error: float  # that must not be exceeded
    least_probability: float  # a label at least so probable is kept
    abstained: Interval  # share that loses its label; 1 where not even the surest are right often enough


class RiskCoverage(TypedDict):
    """Abstention by probability: what each target takes, area, and the curve: share kept, error rate."""

    targets: list[Cut]
    area: float
    curve: list[tuple[float, float]]


class FlagResult(TypedDict):
    """Held-out images with a flag: how many, error rates of these and of the others, and their ratio.

    ``ratio`` is None where it cannot be computed: too few are flagged, or no other image is answered wrongly.
    """

    flag: str
    images: int
    errors: Interval
    errors_of_others: Interval
    ratio: Interval | None
    by_collection: NotRequired[dict[str, Interval]]  # share that is flagged of each, where there are several


class SensitivityAt(TypedDict):
    """Sensitivity and the specificity reached, where the threshold was set for ``aim`` on the other folds."""

    aim: float  # specificity
    sensitivity: Interval
    specificity: Interval


class DecisionCurve(TypedDict):
    """Net benefit by threshold, one value for each; that of acting on nobody is 0."""

    thresholds: list[float]
    net_benefit: list[float]  # of acting from this probability on
    low: list[float]  # ends of its 95 % interval
    high: list[float]
    treat_all: list[float]  # of acting on all
    gain_low: list[float]  # lower end of the 95 % interval of what it is above the better of all and nobody


class OneAgainstRest(TypedDict):
    """One class against the rest, by its probability."""

    auc: Interval
    sensitivity_at: list[SensitivityAt]
    decision_curve: DecisionCurve


class SourceFigures(TypedDict):
    """Images of one collection or device (``kind``): how many of each class, and how well they are told apart.

    ``auc`` is keyed as ``malignant against benign``, ``normal against the rest`` and `tables.MACRO`,
    ``sensitivity_at`` by class against the rest; ``ece`` is of calibrated answers, ``coverage`` the share of images
    whose prediction set holds the true class.  See `tables.describe_sources`.
    """

    kind: str
    name: str
    images: dict[str, int]
    groups: int
    accuracy: Interval
    auc: dict[str, Interval]
    sensitivity_at: dict[str, list[SensitivityAt]]
    ece: Interval
    coverage: Interval


class Guessing(TypedDict):
    """Against calling every image the most frequent class, which is right for a ``share`` of them."""

    label: str
    share: float
    gain: Interval  # of accuracy over that share
    better: bool  # whether the intervals of the gain and of the macro-AUC lie above 0 and 0.5


class _FiguresOfSome(TypedDict, total=False):
    """Figures that need more than the answers; no `NotRequired`, as `model_folder` asks for the required keys."""

    flags: list[FlagResult]  # where every fold measured what its images are judged by
    guessing: Guessing  # in all that this version computes
    by_source: list[SourceFigures]  # where images are of several collections, or their devices are known


class ArmFigures(_FiguresOfSome):
    """All figures of one arm with one seed; ``sensitivity`` and ``specificity`` by class."""

    images: int
    groups: int
    confusion: list[list[int]]
    sensitivity: dict[str, Interval]
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
    """The figures of the first seed in full, those of all seeds in short."""

    seeds: SeedFigures


class ArmResult(EvaluatedArm):
    """An arm's figures and its training with the first seed: learning curve, images added and seconds of each fold."""

    title: str
    train_accuracy: float
    train_accuracy_by_seed: list[list[float]]  # of each fold of each seed, in the order of `seeds`
    learning_curves: list[list[dict[str, float]]]
    seconds: float
    generated_per_fold: list[int]
    trust: dict[str, list[float]] | None  # `trust.HeldOutTrust` by name, None of a comparator


class SignFlipTest(TypedDict):
    """Images that only the first arm, or only the second, got right; the exact two-sided p value by group."""

    first_only: int
    second_only: int
    p_value: float


class SensitivityDifference(TypedDict):
    """Difference in sensitivity where each arm's threshold was set for the specificity ``aim``."""

    aim: float
    difference: Interval


class ClassDifference(TypedDict):
    """Two arms on one class against the rest; ``p_value`` of the AUC by DeLong's test, summed over groups."""

    auc: Interval
    p_value: float | None
    sensitivity_at: list[SensitivityDifference]


class ComparisonRow(TypedDict):
    """Two arms on the same images; differences are ``second - first``."""

    first: str
    second: str
    seed: int
    accuracy_difference: Interval
    macro_auc_difference: Interval
    sign_flip_test: SignFlipTest
    minimum_detectable_difference: float | None  # NaN, or None as read from JSON, where it cannot be computed
    one_against_rest: dict[str, ClassDifference]  # by class


class WrongCluster(TypedDict):
    """A group of images that no arm with any seed answered rightly.

    ``answers`` holds the most frequent answer to each image, ``probability`` is the mean of that of the true class.
    """

    files: list[str]
    labels: list[str]
    answers: list[str]
    probability: float


class NeverRight(TypedDict):
    """All such groups in numbers, and the worst of them, see `tables.never_right`."""

    groups: int
    images: int
    of_groups: int
    of_images: int
    worst: list[WrongCluster]


class CurvePoint(TypedDict):
    """The error of a classifier made from about so many real images."""

    images: float
    error: Interval


class RealWorth(TypedDict):
    """How many real images the images that an arm adds are worth, and by what the real ones seem multiplied.

    See `learning_curve.real_ratio` for a value that is no number, and for ends that are 0 or none.
    """

    arm: str
    ratio: Interval
    images: Interval


class LearningCurve(TypedDict):
    """Error (1 less the ``figure``) by the number of real images, see `learning_curve`.

    ``images`` are all real ones of a training fold, ``points`` those measured by arm, ``exponent`` and ``extrapolated``
    are of the ``baseline``.
    """

    figure: str
    images: float
    baseline: str
    points: dict[str, list[CurvePoint]]
    exponent: Interval
    extrapolated: list[CurvePoint]
    worth: list[RealWorth]


class Evaluation(TypedDict):
    """What follows from ``predictions.csv`` alone.

    Arms by name, each arm against the first one with as many real images, what no arm can.
    """

    arms: dict[str, EvaluatedArm]
    comparisons: list[ComparisonRow]
    never_right: NeverRight
    learning_curves: NotRequired[list[LearningCurve]]  # where arms were run with several shares of the real images


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
    """What the search that did not shape the folds found between them, see `data.second_opinion`."""

    compared: int
    threshold: float
    leaks: list[SecondOpinionPair]
    possible_second_views: list[SecondOpinionPair]  # of one lesion: less alike than copies, more than other scans
    distinct_by_hand: list[SecondOpinionPair]


class SplitResult(TypedDict):
    """The first seed's folds, and the test images of each that have a near-duplicate in its training part."""

    protocol: str
    folds: int
    images: int
    groups: int
    fold_sizes: list[int]
    test_images_with_near_duplicate_in_training: list[int]
    second_opinion: SecondOpinion
    chosen_on: int  # images that the budget was chosen on, see `crossval.choices`
    fingerprint: str


class FoldChoiceResult(TypedDict):
    """The settings that inner folds chose for one fold; accuracy and cross-entropy (nats) on them by candidate.

    ``seconds`` are those of all inner trainings.
    """

    settings: dict[str, Any]
    accuracy: list[float]
    cross_entropy: list[float]
    seconds: float


class ChoiceResult(TypedDict):
    """Settings of the classifier that were chosen inside each fold, see `crossval.nested_choice`.

    ``folds`` has each arm's choices by seed and fold; ``trainings`` and ``seconds`` count all inner ones.
    """

    grid: dict[str, list[Any]]  # values of each setting
    candidates: dict[str, list[dict[str, Any]]]  # by arm: the combinations of those that it has
    inner_folds: int
    folds: dict[str, list[list[FoldChoiceResult]]]
    trainings: int
    seconds: float
    final: NotRequired[FoldChoiceResult]  # of ``run``, whose final model is chosen on inner folds of all images


class ComparisonResults(TypedDict):
    """``results.json`` of ``crossval``: how the comparison was made, and what it found.

    ``classifier`` and ``gan`` hold the fields of `ClassifierSettings` and `GanSettings`.
    """

    data: str
    classes: list[str]
    class_counts: list[int]
    protocol: str
    budget: str
    classifier: dict[str, Any]
    gan: dict[str, Any]
    weights: str
    arms: dict[str, ArmResult]
    comparisons: list[ComparisonRow]
    never_right: NeverRight
    split: SplitResult
    learning_curves: NotRequired[list[LearningCurve]]  # as in `Evaluation`
    choice: NotRequired[ChoiceResult]  # where settings were chosen inside the folds


class RunResults(ComparisonResults):
    """``results.json`` of ``run``: the comparison, and what became of the final model.

    ``parity`` is the row of the ONNX file in the gate of the export, ``bundle_files`` are the manifest's ``files``,
    ``verify`` is the verb's result, ``seconds`` the time of each part of the run.
    """

    parity: dict[str, Any]
    verify: dict[str, Any]
    bundle_files: dict[str, Any]
    final_arm: str
    seconds: dict[str, float]
