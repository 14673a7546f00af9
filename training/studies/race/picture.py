"""Draw the picture of all races: ``python training/studies/race/picture.py OUT.png minutes-30.csv minutes-2.csv``.

Of a recipe in several tables, the longest training is drawn.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from sonoforge.runtime.atomic import write_bytes
from sonoforge.training.reports.charts import MARKERS, SERIES, png_bytes

NUMBERS = ("hours", "kid_ratio")
APART = 3.0  # lengths of trainings, from which on the minutes are on a logarithmic axis


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
    with mpl.rc_context({"font.size": 8}):
        write_bytes(out, png_bytes(draw(longest), '{"synthetic": true}'))


def draw(trainings: dict[str, list[dict[str, Any]]]) -> Figure:
    """Draw each recipe's KID, as a multiple of what real images score among themselves, over minutes of training."""
    canvas = Figure(figsize=(7, 4.2), layout="constrained")
    axis = canvas.add_subplot()
    for index, (recipe, rows) in enumerate(trainings.items()):
        cycle, place = divmod(index, len(SERIES))
        mark, line = MARKERS[(place + cycle) % len(MARKERS)], ("-", "--", ":")[cycle % 3]
        minutes, ratios = [60 * row["hours"] for row in rows], [row["kid_ratio"] for row in rows]
        axis.plot(minutes, ratios, line, color=SERIES[place], marker=mark, markersize=4, label=recipe)
    axis.axhline(1, color="0.4", linewidth=0.8)
    axis.annotate(
        "cannot be told from real images",
        (0, 1),
        (2, 2),
        xycoords=axis.get_yaxis_transform(),
        textcoords="offset points",
        color="0.4",
    )
    axis.set_yscale("log")
    lengths = [rows[-1]["hours"] for rows in trainings.values()]
    if max(lengths) > APART * min(lengths):  # short trainings beside long ones would be a dash at the left
        axis.set_xscale("log")
        axis.xaxis.set_major_formatter("{x:g}")
    else:
        axis.set_xlim(left=0)
    one = next(iter(trainings.values()))[0]
    axis.set_xlabel(f"minutes of training ({one['device']})")
    axis.set_ylabel("KID / KID of real images (log)")
    axis.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    against = "held-out" if one["reference"] != "training" else "training"
    side = f"{one['image_size']} x {one['image_size']}"
    about = f"{one['data']}, {one['images']} images at {side}; KID in {one['features']} against {one['real']} {against}"
    canvas.suptitle(f"{about} images", fontsize=8)
    return canvas


if __name__ == "__main__":
    main()
