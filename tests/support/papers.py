"""What papers print, as it was copied from them by hand: ``tests/golden/papers/SOURCE.csv``."""

from __future__ import annotations

import csv
from pathlib import Path

GOLDEN = Path(__file__).parents[1] / "golden" / "papers"


def printed(source: str) -> dict[str, dict[str, dict[str, str]]]:
    """Every figure of a source, by table, row and column, in the order of the paper."""
    tables: dict[str, dict[str, dict[str, str]]] = {}
    with (GOLDEN / f"{source}.csv").open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            tables.setdefault(line["table"], {}).setdefault(line["row"], {})[line["column"]] = line["value"]
    return tables
