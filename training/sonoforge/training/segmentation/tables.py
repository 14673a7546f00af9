"""The files of ``segment``: ``results.json`` key by key, ``cases.csv`` (every score of every case), ``table.csv``."""

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypedDict

from sonoforge.runtime.atomic import write_text
from sonoforge.runtime.csv_tables import csv_text, defused, number, read_table
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.run_folder import write_table
from sonoforge.training.statistics.published import SEGMENTATION_SOURCE
from sonoforge.training.statistics.results import Interval

REAL_ARM, AUGMENTED_ARM, GENERATED_ARM = "real", "augmented", "generated"

CASES, TABLE = "cases.csv", "table.csv"
SCORES = ("dice", "iou", "hd95")
_NUMBERS = ("seed", "fold", "patient")
CLAIM = f"claim of {SEGMENTATION_SOURCE}, under another protocol"
_COMPARED = ("dice", "against_real", "against_augmented")
_ENDS = {"": "value", "_low": "low", "_high": "high"}
COLUMNS = (
    *("set", "arm", "recipe", *(f"{name}{end}" for name in _COMPARED for end in _ENDS)),
    *("fid", "fid_ratio", "kid", "kid_ratio", "seconds_per_epoch", "memory_gib", "weights", "source"),
)


class StructureResult(TypedDict):
    """One structure of one row: means over cases; ``missed`` and ``invented`` count cases, averaged over the seeds."""

    dice: Interval
    iou: Interval
    hd95: Interval
    unit: str  # of hd95
    cases: int  # that have the structure
    missed: float  # of these, cases without a slice that has it in both the reference and the prediction
    without: int  # cases that do not have it
    invented: float  # of these, cases in which it was predicted


class ArmResult(TypedDict):
    """One arm with one generator: a row of the table."""

    arm: str
    recipe: str  # empty for arms without generated pairs
    dice: Interval  # mean over the structures
    structures: dict[str, StructureResult]
    against_real: Interval | None  # difference of ``dice``, paired by patient; None without such an arm
    against_augmented: Interval | None


class RankCorrelation(TypedDict):
    """Whether a metric ranks the generators as the task does."""

    metric: str
    generators: int
    rho: float  # Spearman's, of the metric and the Dice of ``generated``; -1: the lowest metric is the most useful
    p_value: float  # two-sided, by permutation
    exact: bool  # whether all permutations were tried


class MetricMean(TypedDict):
    """A metric of one recipe's images, averaged over folds and seeds."""

    value: float
    floor: float | None  # the same between real images, at as many images a side
    ratio: float | None  # in multiples of the floor's limit; up to 1 is indistinguishable from real images
    n: int  # images a side


class GeneratorResult(TypedDict):
    """One recipe: what it cost and what it made, averaged over folds and seeds."""

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
    """A row that the paper publishes for this set."""

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


# ---- files


class CaseScore(NamedTuple):
    """The scores of one structure in one case by one U-Net: a row of ``cases.csv``."""

    data: str  # name of the set, or `tested_elsewhere`
    arm: str
    recipe: str  # empty for arms without generated pairs
    seed: int
    fold: int
    patient: int  # number of the group that intervals resample
    case: str
    structure: str
    dice: float  # nan where the reference has nothing of the structure
    iou: float
    hd95: float  # nan where prediction or reference has nothing, too
    unit: str  # of hd95
    invented: bool  # predicted where the reference has nothing


def tested_elsewhere(trained: str, tested: str) -> str:
    """Name the scores of U-Nets trained on one set and tested on all images of another."""
    return f"{trained}, tested on {tested}"


def write_cases(path: Path, scores: Iterable[CaseScore], digits: int = 6) -> None:
    """Write the scores with this many digits, one row for each case and structure; undefined ones are empty."""
    rows: list[Iterable[str]] = [CaseScore._fields]
    for score in scores:
        row = score._asdict()
        row |= {name: "" if math.isnan(row[name]) else f"{row[name]:.{digits}g}" for name in SCORES}
        rows.append(map(defused, map(str, (row | {"invented": int(score.invented)}).values())))
    write_text(path, csv_text(rows))


def read_cases(path: Path, remedy: str = f"give {CASES} of a run of sonoforge segment") -> list[CaseScore]:
    """Read `write_cases`'s file, or one compressed by gzip (``.csv.gz``).

    Raises:
        SonoforgeError: Other columns, or a cell that is not a number; ends with the remedy.
    """
    scores = []
    for row in read_table(path, CaseScore._fields, remedy, whole=True).rows:
        cells, line = {name: row[name] for name in CaseScore._fields}, row.line
        try:
            values = {name: number(cells[name]) if cells[name] else math.nan for name in SCORES}
            numbers = {name: int(cells[name]) for name in _NUMBERS}
            invented = {"invented": bool(int(cells["invented"]))}
        except ValueError as error:
            raise SonoforgeError(f"{path}: line {line}: {error}; {remedy}") from error
        if any(value < 0 for value in values.values()) or values["dice"] > 1 or values["iou"] > 1:
            raise SonoforgeError(f"{path}: line {line}: a Dice of {values['dice']} is not between 0 and 1; {remedy}")
        scores.append(CaseScore(**{**cells, **values, **numbers, **invented}))  # type: ignore[arg-type]
    if not scores:
        raise SonoforgeError(f"{path}: has no rows; {remedy}")
    return scores


def write_tables(folder: Path, results: Sequence[SetResults]) -> None:
    """Write ``table.csv``: for each set a row for each arm and generator, then the paper's."""
    write_table(folder / TABLE, COLUMNS, [row for own in results for row in _rows_of(own)])


def _rows_of(own: SetResults) -> Iterator[dict[str, object]]:
    generators = {generator["recipe"]: generator for generator in own["generators"]}
    for row in own["rows"]:
        cells: dict[str, object] = {
            "set": own["name"],
            "arm": row["arm"],
            "recipe": row["recipe"],
            "source": "this run",
        }
        for name in _COMPARED:
            if found := row[name]:  # type: ignore[literal-required]
                cells |= {f"{name}{end}": found[key] for end, key in _ENDS.items()}
        generator = generators.get(row["recipe"])
        if generator is not None:
            for name, metric in generator["metrics"].items():
                cells |= {name: metric["value"], f"{name}_ratio": metric["ratio"]}
            cells |= {name: generator[name] for name in ("seconds_per_epoch", "memory_gib", "weights")}
        yield cells
    for claim in own["claims"]:
        arm = "generated" if claim["recipe"] else "real"
        yield {"set": own["name"], "arm": arm, **claim, "source": CLAIM}
