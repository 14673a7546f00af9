"""The charts of a search for cells: who descends from whom, and what a lower metric costs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sonoforge.training.pages.charts import INK, LINE, PAPER, SERIES, SOFT, new_chart, styled
from sonoforge.training.search.children import Child
from sonoforge.training.search.results import Searched, pareto_front
from sonoforge.training.trials.training import DIVERGED, ENDED

COSTS = {"parameters": "million parameters", "latency_ms": "milliseconds an image"}
"""Figures that are to be low beside the metric, and the labels of their axes."""
_UNITS = {"parameters": 1e-6, "latency_ms": 1.0}
_FAR = 3.0  # interquartile ranges over the third quartile: what lies beyond is drawn at the edge


@styled
def draw_genealogy(searched: Searched, metric: str) -> Figure:
    """Draw every child by birth and metric, with a line from its parent.

    Args:
        searched: A stage.
        metric: ``kid`` or ``fid``.
    """
    figure, axes = new_chart(330)
    values = {child.member.number: _last(child) for child in searched.children if child.ended}
    shown = {number: value for number, value in values.items() if value is not None}
    top = _top(list(shown.values()))
    heights = {number: min(value, top) for number, value in shown.items()}
    for child in searched.children:
        own, parent = child.member.number, child.member.parent
        if parent is not None and own in heights and parent in heights:
            axes.plot([parent, own], [heights[parent], heights[own]], color=LINE, linewidth=1.4, zorder=1)
    if searched.best is not None:
        line = [number for number in _lineage(searched) if number in heights]
        label = "line of the best"
        axes.plot(line, [heights[number] for number in line], color=INK, linewidth=1.8, zorder=2, label=label)
    measured = [child for child in searched.ended if child.member.number in heights]
    numbers = [child.member.number for child in measured if child.state in ENDED]
    axes.plot(numbers, [heights[number] for number in numbers], "o", color=SERIES[0], label="came to its end")
    numbers = [child.member.number for child in measured if child.state not in ENDED]
    label = "given up, at its last measurement"
    axes.plot(numbers, [heights[number] for number in numbers], "s", label=label, mfc=PAPER, mec=SERIES[1], mew=1.4)
    for child in searched.ended:
        if child.state == DIVERGED:
            axes.axvline(child.member.number, color=SOFT, linewidth=1, linestyle=(0, (2, 3)))
    first = searched.plan.evolution.population
    axes.axvline(first - 0.5, color=SOFT, linewidth=1)
    beyond = sum(value > top for value in shown.values())
    note = f" ({beyond} above the picture, drawn at its edge)" if beyond else ""
    axes.set(xlabel=f"child, in the order of birth{note}", ylabel=metric.upper())
    axes.set_xlim(-0.6, max(searched.plan.evolution.total, 2) - 0.4)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(loc="outside lower left", ncols=1)
    return figure


@styled
def draw_front(searched: Searched, metric: str, cost: str) -> Figure:
    """Draw the metric of the children that came to their end against a cost, and those that none beats in both.

    Args:
        searched: A stage.
        metric: ``kid`` or ``fid``.
        cost: Of `COSTS`.
    """
    figure, axes = new_chart(290)
    front = pareto_front(searched.children, metric, cost)
    numbers = {child.member.number for child in front}
    compared = [child for child in searched.ended if child.state in ENDED and child.details.get(cost) is not None]
    others = [child for child in compared if child.member.number not in numbers]
    top = _top([child.details[metric] for child in compared])

    def places(children: Sequence[Child]) -> tuple[list[float], list[float]]:
        costs = [child.details[cost] * _UNITS[cost] for child in children]
        return costs, [min(child.details[metric], top) for child in children]

    costs, heights = places(others)
    axes.plot(costs, heights, "o", mfc=SOFT, alpha=0.6, label="another is as good and cheaper")
    costs, heights = places(front)
    axes.plot(costs, heights, "o-", color=SERIES[0], drawstyle="steps-post", label="Pareto front")
    for child in front:
        at = child.details[cost] * _UNITS[cost], min(child.details[metric], top)
        axes.annotate(str(child.member.number), at, (5, 5), textcoords="offset points", color=SOFT)
    axes.set(xlabel=f"{COSTS[cost]} of the {searched.stage}", ylabel=metric.upper())
    figure.legend(loc="outside lower left", ncols=2)
    return figure


def _last(child: Child) -> float | None:
    return child.reports[-1][1] if child.reports else None


def _lineage(searched: Searched) -> list[int]:
    """Return the best and its ancestors, the oldest first."""
    line = [searched.best.member.number] if searched.best else []
    while line and (parent := searched.children[line[-1]].member.parent) is not None:
        line.append(parent)
    return line[::-1]


def _top(values: Sequence[float]) -> float:
    """Return where single values that are far above all others are cut off."""
    if len(values) < 4:
        return float("inf")
    low, high = np.percentile(values, [25, 75])
    return float(high + _FAR * (high - low))
