"""The charts of a search: how far the trials of each recipe spread, how KID fell, and which parameters mattered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sonoforge.training.pages.charts import INK, MARKERS, PAPER, SERIES, SOFT, new_chart, new_row_chart, styled
from sonoforge.training.statistics.wording import counted
from sonoforge.training.trials.training import DIVERGED, ENDED, PRUNED
from sonoforge.training.tuning.results import Searched, spread

TITLES = {"kid": "KID", "fid": "FID"}
_BOX, _SCATTER = 7.0, 5.0  # points, up and down from a row's middle: half a box, and how far marks are moved apart
_FAR = 4.0  # interquartile ranges over the third quartile: what lies beyond would squeeze all others together


@styled
def draw_spread(searched: Sequence[Searched], figure: str) -> Figure:
    """Draw a figure of every complete trial by recipe, with quartiles: figure 1 of Thakur and Thakur.

    Args:
        searched: The recipes.
        figure: ``kid`` or ``fid``.
    """
    labels = [f"{own.recipe}: {counted(len(spread(own.rows, figure)), 'complete trial')}" for own in searched]
    label = f"{TITLES[figure]} at the end of a trial; lower is better"
    limits = _limits([value for own in searched for value in spread(own.rows, figure)])
    chart, axes, heights = new_row_chart(
        labels, label + (f"\n({limits[2]} to the right of the picture)" if limits else "")
    )
    if limits:
        axes.set_xlim(limits[:2])
    for series, (own, height) in enumerate(zip(searched, heights, strict=True)):
        values = np.array(spread(own.rows, figure))
        if not len(values):
            continue
        colour = SERIES[series % len(SERIES)]
        low, middle, high = np.percentile(values, [25, 50, 75])
        axes.fill_betweenx([height - _BOX, height + _BOX], low, high, color=colour, alpha=0.2, linewidth=0)
        axes.plot([middle, middle], [height - _BOX, height + _BOX], color=colour, linewidth=2)
        # Neighbours in the order of values lie on different lines; the same values are drawn alike each time.
        moved = height + _SCATTER * np.resize([0, -1, 1], len(values))
        axes.plot(values, moved, MARKERS[series % len(MARKERS)], color=colour, markersize=5.5, alpha=0.8)
    return chart


@styled
def draw_history(own: Searched) -> Figure:
    """Draw the KID of a recipe's trials in their order, and the lowest so far."""
    chart, axes = new_chart(290)
    ended = [row for row in own.rows if row["state"] in ENDED]
    given_up = [row for row in own.rows if row["state"] == PRUNED and row["kid"] is not None]
    diverged = [row["trial"] for row in own.rows if row["state"] == DIVERGED]
    if ended:
        numbers, values = [row["trial"] for row in ended], [row["kid"] for row in ended]
        axes.plot(numbers, values, "o", color=SERIES[0], label="complete")
        lowest = np.minimum.accumulate(values)
        axes.step([*numbers, own.rows[-1]["trial"]], [*lowest, lowest[-1]], where="post", color=INK, linewidth=1.4)
        axes.plot([], [], color=INK, linewidth=1.4, label="lowest so far")
    if given_up:
        numbers, values = [row["trial"] for row in given_up], [row["kid"] for row in given_up]
        label = "given up, at its last measurement"
        axes.plot(numbers, values, "s", label=label, mfc=PAPER, mec=SERIES[1], mew=1.4)
    for number in diverged:
        axes.axvline(number, color=SOFT, linewidth=1, linestyle=(0, (2, 3)))
    if diverged:
        axes.plot([], [], color=SOFT, linewidth=1, linestyle=(0, (2, 3)), label="diverged")
    axes.set(xlabel="trial", ylabel="KID", xlim=(-0.6, max(len(own.rows), 2) - 0.4))
    if limits := _limits([row["kid"] for row in (*ended, *given_up)]):
        axes.set(ylim=limits[:2], xlabel=f"trial ({limits[2]} above the picture)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    chart.legend(loc="outside lower left", ncols=2)
    return chart


def _limits(values: Sequence[float]) -> tuple[float, float, int] | None:
    """Return the ends of an axis below single values that are far above all others, and how many these are."""
    if len(values) < 4:
        return None
    low, high = np.percentile(values, [25, 75])
    bottom, limit = min(values), high + _FAR * (high - low)
    top, beyond = max(value for value in values if value <= limit), sum(value > limit for value in values)
    if not beyond or top <= bottom:
        return None
    return bottom - 0.06 * (top - bottom), top + 0.08 * (top - bottom), beyond


@styled
def draw_importances(importances: Mapping[str, float]) -> Figure:
    """Draw the share of each parameter in the variance of KID."""
    chart, axes, heights = new_row_chart(list(importances), "share of the variance of KID")
    axes.barh(heights, list(importances.values()), height=2 * _BOX, color=SERIES[0])
    axes.set_xlim(0, max([*importances.values(), 0.01]) * 1.05)
    return chart
