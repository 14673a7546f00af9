"""``report.html`` and the pictures of ``tune``: what the trials gave, the best settings, and what they may be worth."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup
from matplotlib.figure import Figure
from rich import box
from rich.table import Table

from sonoforge.runtime.atomic import write_bytes
from sonoforge.training.pages.charts import png_bytes, svg
from sonoforge.training.pages.shell import write_page
from sonoforge.training.pages.tuning.charts import TITLES, draw_history, draw_importances, draw_spread
from sonoforge.training.statistics.wording import figure
from sonoforge.training.terminal import as_text
from sonoforge.training.trials.command import format_value
from sonoforge.training.trials.training import ENDED
from sonoforge.training.tuning.parameters import NAMES
from sonoforge.training.tuning.results import Row, Searched

REPORT = "report.html"
TABLE = "trials.csv"
SPREAD = "spread-{}.png"
HISTORY, IMPORTANCES = "history-{}.png", "importances-{}.png"


class _Section(NamedTuple):
    """One recipe on the page."""

    searched: Searched
    names: list[str]  # of the parameters that were searched
    ordered: list[Row]  # the trials as the table has them
    history: Markup
    importances: Markup


def chosen(row: Row) -> list[tuple[str, str]]:
    """Return the values that a trial tried, as they are typed, by name of the parameter."""
    return [(name, format_value(row[name])) for name in NAMES if name in row]


def describe_table(searched: Sequence[Searched]) -> str:
    """Return the best of each recipe as a table for a terminal."""
    table = Table(box=box.SIMPLE, pad_edge=False, padding=(0, 1))
    for heading in ("recipe", "trials", "lowest KID", "FID", "KID, other images", "settings"):
        table.add_column(heading)
    for own in searched:
        states = ", ".join(f"{count} {name}" for name, count in own.states.items())
        if own.best is None:
            table.add_row(own.recipe, states, "-", "-", "-", "no trial was completed")
            continue
        settings = ", ".join(f"{name} {value}" for name, value in chosen(own.best))
        apart = figure(own.apart["kid"]) if own.apart else "-"
        table.add_row(own.recipe, states, figure(own.best["kid"]), figure(own.best["fid"]), apart, settings)
    return as_text(table)


def write_report(folder: Path, searched: Sequence[Searched], facts: Mapping[str, Any]) -> Path:
    """Write ``report.html`` and its pictures as PNG files, and return the path of the page.

    Args:
        folder: Of the run.
        searched: The recipes.
        facts: What the page says of the search: see ``tuning/page.html.j2``.
    """
    spreads = []
    for name, title in TITLES.items():
        drawn = draw_spread(searched, name)
        spreads.append((title, _keep(drawn, folder / SPREAD.format(name), f"{title} of the trials by recipe")))
    sections = [_section(folder, own) for own in searched]
    links = [("spread", "How far do trials spread?")]
    links += [(f"recipe-{place}", own.recipe) for place, own in enumerate(searched, start=1)]
    context = {**facts, "sections": sections, "spreads": spreads, "links": links, "show": format_value}
    return write_page(folder / REPORT, "tuning/page.html.j2", {**context, "table_file": TABLE})


def _section(folder: Path, own: Searched) -> _Section:
    names = [name for name in NAMES if any(name in row for row in own.rows)]
    history = _keep(draw_history(own), folder / HISTORY.format(own.recipe), f"KID of the trials of {own.recipe}")
    importances = Markup()
    if own.importances:
        label = f"Importances of the parameters of {own.recipe}"
        importances = _keep(draw_importances(own.importances), folder / IMPORTANCES.format(own.recipe), label)
    ordered = sorted(own.rows, key=lambda row: (row["state"] not in ENDED, row["kid"] is None, row["kid"] or 0.0))
    return _Section(own, names, ordered, history, importances)


def _keep(drawn: Figure, path: Path, label: str) -> Markup:
    write_bytes(path, png_bytes(drawn, json.dumps({"about": label})))
    return svg(drawn, label)
