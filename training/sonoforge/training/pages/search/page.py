"""``report.html`` of ``search``, written anew after each child: leaderboard, samples, genealogy and Pareto front."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup
from PIL import Image
from rich import box
from rich.table import Table

from sonoforge.training.pages.charts import svg
from sonoforge.training.pages.embedding import Picture, embed
from sonoforge.training.pages.search.charts import COSTS, draw_front, draw_genealogy
from sonoforge.training.pages.shell import write_page
from sonoforge.training.search.children import Child, child_folder
from sonoforge.training.search.results import Searched, pareto_front, ranked
from sonoforge.training.statistics.wording import figure
from sonoforge.training.terminal import as_text

REPORT = "report.html"
TABLE = "children.csv"
SHOWN = 4  # children whose samples are shown
REFRESH = 20  # seconds after which a browser loads the page of a search that is under way again
_SIDE = 640  # pixels of a grid of samples, at most


class _Sample(NamedTuple):
    child: Child
    picture: Picture


class _Section(NamedTuple):
    """One stage on the page."""

    searched: Searched
    ranked: list[Child]
    genealogy: Markup
    fronts: list[tuple[str, list[Child], Markup]]  # cost, the children that none beats, their chart
    samples: list[_Sample]


def write_report(folder: Path, searched: Sequence[Searched], facts: Mapping[str, Any]) -> Path:
    """Write ``report.html`` and return its path.

    Args:
        folder: Of the run.
        searched: The stages so far.
        facts: What the page says of the search: see ``search/page.html.j2``.
    """
    sections = [_section(folder, own, str(facts["metric"])) for own in searched]
    links = [(f"stage-{own.searched.stage}", f"The {own.searched.stage}") for own in sections]
    context = {
        **facts,
        "sections": sections,
        "links": links,
        "seconds": sum(child.details.get("seconds") or 0.0 for own in searched for child in own.ended),
        "table_file": TABLE,
        "refresh": REFRESH,
        "costs": COSTS,
    }
    return write_page(folder / REPORT, "search/page.html.j2", context)


def _section(folder: Path, own: Searched, metric: str) -> _Section:
    order = ranked(own.children)
    label = f"Genealogy of the {own.stage}s"
    fronts = []
    for cost in COSTS:
        if front := pareto_front(own.children, metric, cost):
            drawn = draw_front(own, metric, cost)
            fronts.append((cost, front, svg(drawn, f"{metric.upper()} of the {own.stage}s against {cost}")))
    return _Section(own, order, svg(draw_genealogy(own, metric), label), fronts, _samples(folder, own, order))


def _samples(folder: Path, own: Searched, order: Sequence[Child]) -> list[_Sample]:
    samples = []
    for child in order[:SHOWN]:
        path = child_folder(folder, own.stage, child.member) / "samples" / "latest.png"
        if path.is_file():
            alt = f"Synthetic images of {own.stage} {child.member.number}, {child.member.code}"
            with Image.open(path) as image:
                samples.append(_Sample(child, embed(image, _SIDE, alt)))
    return samples


def describe_table(searched: Sequence[Searched], metric: str) -> str:
    """Return the best of each stage as a table for a terminal."""
    table = Table(box=box.SIMPLE, pad_edge=False, padding=(0, 1))
    for heading in ("stage", "children", "best code", f"lowest {metric.upper()}", "other images", "parameters", "ms"):
        table.add_column(heading)
    for own in searched:
        if own.best is None:
            table.add_row(own.stage, str(len(own.ended)), "-", "-", "-", "-", "-")
            continue
        details = own.best.details
        apart = figure(own.apart[metric]) if own.apart else "-"
        costs = (f"{details['parameters']:,}", figure(details["latency_ms"]) if "latency_ms" in details else "-")
        code = str(own.best.member.code).replace("[", r"\[")  # no mark-up of rich
        table.add_row(own.stage, str(len(own.ended)), code, figure(own.best.reports[-1][1]), apart, costs[0], costs[1])
    return as_text(table)


def describe_child(own: Searched, child: Child, metric: str) -> str:
    """Return how a child ended, and the best so far, in a line."""
    value = f", {metric.upper()} {child.reports[-1][1]:.4f}" if child.reports else ""
    best = own.best
    lowest = "" if best is None else f"; best so far {best.member.number}, {best.reports[-1][1]:.4f}"
    return f"{own.stage} {child.member.number} {child.member.code} {child.state}{value}{lowest}"


def summary(own: Searched) -> dict[str, Any]:
    """Return what ``results.json`` says of a stage."""
    states = [child.state for child in own.ended]
    best: dict[str, Any] | None = None
    if own.best is not None:
        best = {"child": own.best.member.number, "code": str(own.best.member.code), **own.best.details}
    return {
        "children": len(states),
        "states": {state: states.count(state) for state in sorted(set(states))},
        "partner": own.partner,
        "best": best,
        "apart": own.apart,
    }
