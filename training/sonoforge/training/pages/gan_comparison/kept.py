"""The tables of `sonoforge gan compare`, read again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.data.datasets import read_columns, read_table
from sonoforge.training.pages.gan_comparison.tables import FIGURES, FIGURES_OF_PAIRS, OURS, TABLE, Row, columns_of

_TEXTS = frozenset(
    {"data", "recipe", "reference", "protocol_id", "device", "conditioning", "features", "source", "run"}
)
_WHOLE = frozenset({"step", "n", "real", "generated", "image_size", "batch", "images", "expand", "classes"})
_FOUND = frozenset(f"{name}{part}" for name in (*FIGURES, *FIGURES_OF_PAIRS) for part in ("", "_floor", "_ratio"))


def read_comparison(paths: Sequence[Path]) -> list[Row]:
    """Read our rows of several tables; of a recipe in more than one of them, those of the longest training.

    Args:
        paths: Files as `write_table` writes them, or compressed by gzip (``.csv.gz``).

    Raises:
        SonoforgeError: Other columns, a cell that is no number, no row, or rows whose figures cannot be compared.
    """
    ends: dict[str, tuple[float, Path]] = {}
    rows = []
    for path in dict.fromkeys(paths):
        found = _read(path)
        for row in found:
            ends[row["recipe"]] = max(ends.get(row["recipe"], (0.0, path)), (row["hours"], path))
        rows += [(path, row) for row in found]
    kept = [row for path, row in rows if ends[row["recipe"]][1] == path]
    protocols = {row["protocol_id"] for row in kept}
    if len(protocols) > 1:
        raise SonoforgeError(
            f"--from: {', '.join(map(str, paths))} were measured under {len(protocols)} "
            "protocols, so their figures are not comparable; give tables of the same images, size and features"
        )
    return kept


def _read(path: Path) -> list[Row]:
    remedy = f"give {TABLE} of a run of sonoforge gan compare"
    rows = read_columns(path, columns_of(read_table(path, remedy)[1]), remedy)
    own = [_parse(path, line, row) for line, row in enumerate(rows, start=2) if row["source"] == OURS]
    if not own:
        raise SonoforgeError(f"{path}: found no row of source {OURS}; {remedy}")
    return own


def _parse(path: Path, line: int, cells: dict[str, str]) -> Row:
    row: Row = {}
    for name, text in cells.items():
        try:
            if name in _TEXTS:
                row[name] = text
            elif name == "collapsed":
                row[name] = {"True": True, "False": False}[text]
            elif name in _WHOLE:
                row[name] = int(text)
            elif text:
                row[name] = float(text)
            elif name not in _FOUND:  # a figure that was not measured is left out of its row
                row[name] = None
        except (ValueError, KeyError) as error:
            raise SonoforgeError(
                f"{path}: line {line}: {name}: found {text!r}, expected a number; restore the file"
            ) from error
    return row
