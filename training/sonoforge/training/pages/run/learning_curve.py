"""The chart of the learning curve, and the sentences on what generated images are worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from markupsafe import Markup
from matplotlib.ticker import FuncFormatter, NullFormatter

from sonoforge.training.pages.charts import MARKERS, SERIES, new_chart, percent_axis, styled, svg
from sonoforge.training.pages.terminal.learning_curve import FIGURE_WORDS, describe_worth
from sonoforge.training.statistics.results import IntervalResult, LearningCurve

_APART = 1.012
"""Factor between the numbers of images that two arms are drawn at, so that neither hides the other."""


class CurveChart(NamedTuple):
    """One figure's chart, with a sentence for each arm that adds images."""

    what: str
    chart: Markup
    worth: list[str]


def curve_charts(curves: Sequence[LearningCurve], titles: Mapping[str, str]) -> list[CurveChart]:
    """Draw each figure's learning curve; empty where the run had too few shares of the real images."""
    return [
        CurveChart(
            FIGURE_WORDS[curve["figure"]],
            _draw(curve, titles),
            [f"{titles[row['arm']]}: {describe_worth(row, FIGURE_WORDS[curve['figure']])}." for row in curve["worth"]],
        )
        for curve in curves
    ]


@styled
def _draw(curve: LearningCurve, titles: Mapping[str, str]) -> Markup:
    what = FIGURE_WORDS[curve["figure"]]
    figure, axes = new_chart(300 + 18 * len(curve["points"]))
    for series, (name, points) in enumerate(curve["points"].items()):
        colour, marker = SERIES[series % len(SERIES)], MARKERS[series % len(MARKERS)]
        place = np.array([point["images"] for point in points]) * _APART**series
        errors = [point["error"] for point in points]
        axes.vlines(place, [1 - own["high"] for own in errors], [1 - own["low"] for own in errors], colour, alpha=0.5)
        values = [1 - point["error"]["value"] for point in points]
        axes.plot(place, values, marker, color=colour, label=titles[name])
    beyond, colour = curve["extrapolated"], SERIES[0]
    known = np.geomspace(curve["points"][curve["baseline"]][0]["images"], curve["images"], 40)
    fitted = 1 - beyond[0]["error"]["value"] * (known / curve["images"]) ** -curve["exponent"]["value"]
    axes.plot(known, fitted, color=colour, linewidth=1.4)
    further = [point["images"] for point in beyond]
    axes.plot(further, [1 - point["error"]["value"] for point in beyond], "--", color=colour, linewidth=1.4)
    ends: list[IntervalResult] = [point["error"] for point in beyond]
    low, high = (1 - np.array([end["high"] for end in ends]), 1 - np.array([end["low"] for end in ends]))
    axes.fill_between(further, low, high, color=colour, alpha=0.13, linewidth=0)
    axes.set_xscale("log")
    ticks = [point["images"] for point in curve["points"][curve["baseline"]]] + [further[-1]]
    axes.set_xticks(ticks)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.minorticks_off()
    if curve["figure"] == "accuracy":
        axes.yaxis.set_major_formatter(percent_axis())
    axes.set(xlabel="real images in training", ylabel=what)
    figure.legend(loc="outside lower left")
    return svg(figure, f"{what} by the number of real images in training, with its extrapolation")
