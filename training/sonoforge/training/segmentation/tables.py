"""The files of ``segment``: ``results.json`` key by key, ``cases.csv`` (every score of every case), ``table.csv``."""

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from sonoforge.runtime.atomic import write_text
from sonoforge.runtime.csv_tables import csv_text, defused, number, read_table
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.run_folder import write_table
from sonoforge.training.statistics.published import SEGMENTATION_SOURCE
from sonoforge.training.statistics.results import Record

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


def write_tables(folder: Path, results: Sequence[Record]) -> None:
    """Write ``table.csv``: for each set a row for each arm and generator, then the paper's."""
    write_table(folder / TABLE, COLUMNS, [row for own in results for row in _rows_of(own)])


def _rows_of(own: Record) -> Iterator[dict[str, object]]:
    generators = {generator["recipe"]: generator for generator in own["generators"]}
    for row in own["rows"]:
        cells: dict[str, object] = {
            "set": own["name"],
            "arm": row["arm"],
            "recipe": row["recipe"],
            "source": "this run",
        }
        for name in _COMPARED:
            if found := row[name]:
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
