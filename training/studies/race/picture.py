"""Draw the picture of all races: ``python training/studies/race/picture.py OUT.png minutes-30.csv minutes-2.csv``.

Of a recipe in several tables, the longest training is drawn.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any

from sonoforge.training.reports.gan_comparison import write_curves

NUMBERS = ("hours", "kid_ratio")


def main() -> None:
    """Read the rows that were measured here, and draw KID over minutes."""
    out, *paths = map(Path, sys.argv[1:])
    longest: dict[str, list[dict[str, Any]]] = {}
    for path in paths:
        own: dict[str, list[dict[str, Any]]] = {}
        for row in csv.DictReader(path.read_text(encoding="utf-8").splitlines()):
            if row["source"] == "ours":
                own.setdefault(row["recipe"], []).append(row | {name: float(row[name]) for name in NUMBERS})
        for recipe, rows in own.items():
            if recipe not in longest or rows[-1]["hours"] > longest[recipe][-1]["hours"]:
                longest[recipe] = rows
    write_curves(out, [row for rows in longest.values() for row in rows])


if __name__ == "__main__":
    main()
