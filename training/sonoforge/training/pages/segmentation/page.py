"""``report.html`` of ``segment``: is a generator worth its hours, on each set; one self-contained file.

The page prints the results it is given and computes no figure of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup
from PIL import Image

from sonoforge.training.data.pixels import STRUCTURE_COLOURS
from sonoforge.training.pages.embedding import Picture, embed
from sonoforge.training.pages.segmentation import charts
from sonoforge.training.pages.segmentation.tables import CLAIM
from sonoforge.training.pages.shell import write_page
from sonoforge.training.segmentation.generating import METRICS, MOST_MEASURED
from sonoforge.training.segmentation.overlays import PICTURES, sheet_name
from sonoforge.training.segmentation.pairs import SMALLEST_PIECE
from sonoforge.training.segmentation.set_results import SetResults

REPORT = "report.html"
_SIDE = 1100  # pixels of a sheet, at most


class _Sheet(NamedTuple):
    title: str
    synthetic: bool
    picture: Picture


class _Section(NamedTuple):
    """One set on the page."""

    anchor: str
    results: SetResults
    facts: Mapping[str, Any]
    dice: Markup
    usefulness: list[Markup]  # Dice against each metric
    pairs: list[_Sheet]
    predictions: list[_Sheet]
    colours: list[tuple[str, str]]  # name and colour of each structure


def write_report(folder: Path, results: Sequence[SetResults], facts: Mapping[str, Mapping[str, Any]]) -> Path:
    """Write ``FOLDER/report.html`` and return its path.

    Args:
        folder: Of the run.
        results: All figures.
        facts: Of each set by its name: numbers of images, protocol, how the networks were trained.
    """
    sections = [_section(folder, place, own, facts[own["name"]]) for place, own in enumerate(results, start=1)]
    context = {
        "sections": sections,
        "links": [(own.anchor, own.results["name"]) for own in sections],
        "claim": CLAIM,
        "most_measured": MOST_MEASURED,
        "smallest_piece": SMALLEST_PIECE,
    }
    return write_page(folder / REPORT, "segmentation/page.html.j2", context)


def _section(folder: Path, place: int, own: SetResults, facts: Mapping[str, Any]) -> _Section:
    pictures, name = folder / own["name"] / PICTURES, own["name"]
    pairs = [("real training images", sheet_name("real"), False)]
    pairs += [(row["recipe"], sheet_name(row["recipe"]), True) for row in own["generators"]]
    predicted = [
        (
            " ".join(part for part in (row["arm"], row["recipe"]) if part),
            _predicted_name(row["arm"], row["recipe"]),
            False,
        )
        for row in own["rows"]
    ]
    charted = [charts.draw_usefulness(own, metric) for metric in METRICS]
    return _Section(
        anchor=f"set-{place}",
        results=own,
        facts=facts,
        dice=charts.draw_dice(own["rows"], name),
        usefulness=[chart for chart in charted if chart],
        pairs=_sheets(pictures, pairs, f"of {name}: above the images, below the same with their structures"),
        predictions=_sheets(pictures, predicted, f"on {name}: above the reference, below what the U-Net says"),
        colours=[
            (structure, "#{:02x}{:02x}{:02x}".format(*STRUCTURE_COLOURS[k % len(STRUCTURE_COLOURS)]))
            for k, structure in enumerate(facts["structures"])
        ],
    )


def _predicted_name(arm: str, recipe: str) -> str:
    return sheet_name("predicted-" + "-".join(part for part in (arm, recipe) if part))


def _sheets(folder: Path, named: Sequence[tuple[str, str, bool]], alt: str) -> list[_Sheet]:
    sheets = []
    for title, name, synthetic in named:
        if (folder / name).is_file():
            with Image.open(folder / name) as image:
                sheets.append(_Sheet(title, synthetic, embed(image, _SIDE, f"{title} {alt}")))
    return sheets
