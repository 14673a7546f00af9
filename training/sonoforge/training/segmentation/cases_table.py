"""``cases.csv``: every score of every case, from which all tables can be computed again."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable
from pathlib import Path

from sonoforge.runtime.atomic import write_text
from sonoforge.runtime.csv_cells import defused
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.data.datasets import read_columns
from sonoforge.training.segmentation.judging import CaseScore

FILE = "cases.csv"
_SCORES = ("dice", "iou", "hd95")
_NUMBERS = ("seed", "fold", "patient")


def write_cases(path: Path, scores: Iterable[CaseScore]) -> None:
    """Write the scores, one row a case and structure; what is not defined is empty."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(CaseScore._fields)
    for score in scores:
        row = score._asdict()
        row |= {name: "" if math.isnan(row[name]) else f"{row[name]:.6g}" for name in _SCORES}
        writer.writerow(map(defused, map(str, (row | {"invented": int(score.invented)}).values())))
    write_text(path, stream.getvalue())


def read_cases(path: Path) -> list[CaseScore]:
    """Read `write_cases`'s file, or one compressed by gzip (``.csv.gz``).

    Raises:
        SonoforgeError: Other columns, or a cell that is no number.
    """
    rows = read_columns(path, CaseScore._fields, f"give {FILE} of a run of sonoforge segment")
    scores = []
    for line, cells in enumerate(rows, start=2):
        try:
            values = {name: float(cells[name]) if cells[name] else math.nan for name in _SCORES}
            numbers = {name: int(cells[name]) for name in _NUMBERS}
            invented = {"invented": bool(int(cells["invented"]))}
        except ValueError as error:
            raise SonoforgeError(f"{path}: line {line}: {error}; restore the file") from error
        if any(value < 0 for value in values.values()) or values["dice"] > 1 or values["iou"] > 1:
            raise SonoforgeError(f"{path}: line {line}: found Dice {values['dice']}, expected 0 to 1; restore the file")
        scores.append(CaseScore(**{**cells, **values, **numbers, **invented}))  # type: ignore[arg-type]
    if not scores:
        raise SonoforgeError(f"{path}: found no row, expected one for each case and structure")
    return scores
