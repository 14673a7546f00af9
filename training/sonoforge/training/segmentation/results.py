"""What is found out about a set of images: ``results.json`` of ``segment``, key by key."""

from typing import TypedDict

from sonoforge.training.statistics.results import Interval

REAL_ARM, AUGMENTED_ARM, GENERATED_ARM = "real", "augmented", "generated"


class StructureResult(TypedDict):
    """One structure of one row: means over cases; ``missed`` and ``invented`` count cases, means over the seeds."""

    dice: Interval
    iou: Interval
    hd95: Interval
    unit: str  # of hd95
    cases: int  # that have the structure
    missed: float  # of these, cases where no slice has it both in the reference and in the prediction
    without: int  # cases that do not have it
    invented: float  # of these, cases in which it was predicted


class ArmResult(TypedDict):
    """One arm with one generator: a row of the table."""

    arm: str
    recipe: str  # empty for arms without generated pairs
    dice: Interval  # mean over the structures
    structures: dict[str, StructureResult]
    against_real: Interval | None  # difference of ``dice``, paired by patient; None: there is no such arm
    against_augmented: Interval | None


class RankCorrelation(TypedDict):
    """Whether a metric orders the generators as the task does."""

    metric: str
    generators: int
    rho: float  # Spearman's, of the metric and the Dice of ``generated``; -1: the lowest metric is the most useful
    p_value: float  # two-sided, by permutation
    exact: bool  # whether all permutations were tried


class MetricMean(TypedDict):
    """A metric of one recipe's images: the mean over folds and seeds, as is each of the others."""

    value: float
    floor: float | None  # what real images score against each other, at as many images a side
    ratio: float | None  # in multiples of the floor's limit; up to 1 cannot be told from real images
    n: int  # images a side of these draws


class GeneratorResult(TypedDict):
    """One recipe: what it took and what it made; means over folds and seeds."""

    recipe: str
    trainings: int
    images: float  # trained on
    steps: float
    kimg: float
    seconds_per_epoch: float
    memory_gib: float | None
    weights: int
    metrics: dict[str, MetricMean]
    space: str  # feature space of the metrics
    structures: dict[str, float]  # share of the pairs that have each structure
    real_structures: dict[str, float]


class Claim(TypedDict):
    """A row that the paper publishes of this set."""

    recipe: str
    fid: float | None
    dice: float


class SetResults(TypedDict):
    """One set of images."""

    name: str
    patients: int  # tested
    cases: int
    rows: list[ArmResult]
    generators: list[GeneratorResult]
    correlations: list[RankCorrelation]
    claims: list[Claim]
    claimed_correlation: RankCorrelation | None  # of the paper's own FID and Dice
    verdict: list[str]
