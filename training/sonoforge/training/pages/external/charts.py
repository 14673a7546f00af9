"""The charts of an external validation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

from sonoforge.training.external.disturbances import DISTURBANCES
from sonoforge.training.external.robustness import Robustness
from sonoforge.training.pages.charts import (
    INK,
    MARKERS,
    SERIES,
    SOFT,
    new_chart,
    new_roc_chart,
    new_row_chart,
    percent_axis,
    styled,
    svg,
)
from sonoforge.training.pages.run.evidence import Bin
from sonoforge.training.statistics.wording import number

_MARKS = 8  # at most, about, on a curve
_SIZES = (5, 8, 11)  # points, of the marks of a weak, a middle and a strong disturbance


class Curve(NamedTuple):
    """What a ROC curve is drawn from: its name, and of N images the truth and the score."""

    name: str
    positive: NDArray[np.bool_]
    scores: NDArray[np.float64]
    area: float


@styled
def draw_roc(curves: Sequence[Curve], title: str) -> Markup:
    """Draw how well each two classes are told apart."""
    figure, axes = new_roc_chart(320 + 20 * len(curves))
    for series, curve in enumerate(curves):
        across, up, _ = roc_curve(curve.positive, curve.scores)
        every = (series, max(1, len(across) // _MARKS))
        style = MARKERS[series % len(MARKERS)] + "-"
        label = f"{curve.name}, {number(curve.area)}"
        colour = SERIES[series % len(SERIES)]
        axes.plot(across, up, style, color=colour, markevery=every, label=label, clip_on=False)
    axes.set(xlabel="share of the second class called the first", ylabel="share of the first that is found")
    figure.legend(loc="outside lower left")
    said = "; ".join(f"{curve.name}: area {number(curve.area)}" for curve in curves)
    return svg(figure, f"ROC curves of {title}. {said}")


@styled
def draw_reliability(bins: Sequence[Bin], title: str) -> Markup:
    """Draw how often answers were right, by the probability that was stated; bars are numbers of images."""
    figure, axes = new_chart(350)
    axes.plot([0, 1], [0, 1], color=SOFT, linewidth=1, linestyle=(0, (5, 4)))
    stated = [own.confidence for own in bins]
    right, low, high = np.array([own.accuracy for own in bins]).reshape(-1, 3).T
    largest = max((own.images for own in bins), default=1)
    axes.bar(stated, [0.15 * own.images / largest for own in bins], 0.02, color=SERIES[0], alpha=0.35)
    axes.vlines(stated, low, high, SERIES[0], alpha=0.4, linewidth=1)
    axes.plot(stated, right, "o-", color=SERIES[0], linewidth=1.4, clip_on=False)
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="probability that was stated", ylabel="share that was right")
    axes.xaxis.set_major_formatter(percent_axis())
    axes.yaxis.set_major_formatter(percent_axis())
    return svg(figure, f"Reliability of the answers to {title}: share of right answers by stated probability")


@styled
def draw_robustness(found: Robustness, title: str) -> Markup:
    """Draw the change of the AUC under each disturbance; larger marks are stronger ones."""
    kinds = list(dict.fromkeys(row["kind"] for row in found["disturbed"]))
    figure, axes, heights = new_row_chart([DISTURBANCES[kind].title for kind in kinds], "change of the AUC")
    for kind, height in zip(kinds, heights, strict=True):
        rows = [row for row in found["disturbed"] if row["kind"] == kind]
        changes = [row["change"]["value"] for row in rows]
        axes.plot(changes, [height] * len(changes), "-", color=SERIES[0], linewidth=1, alpha=0.5)
        for change, size in zip(changes, _SIZES, strict=False):
            axes.plot(change, height, "o", color=SERIES[0], markersize=size)
    axes.axvline(0, color=INK, linewidth=1.2, zorder=0.5)
    worst = min(found["disturbed"], key=lambda row: row["change"]["value"])
    said = f"the largest fall is {number(worst['change']['value'])}, under {DISTURBANCES[worst['kind']].title}"
    return svg(figure, f"Change of the AUC on disturbed images of {title}: {said}")
