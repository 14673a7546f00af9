"""Draw the pages' charts: matplotlib figures, embedded as SVG with colours and font from the style sheet.

One figure thus suits light, dark and printed pages; as a PNG file it has the light colours. A chart is about as wide as
a phone (`WIDTH`), so that its text is as large as the page's on any screen. Series differ in marker shape as well as in
colour.
"""

import io
import re
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from sonoforge.training.statistics import calibration, intervals

WIDTH = 420  # points; a point of a chart is a unit of its SVG
SERIES = ("#0072b2", "#c25100", "#00795a", "#a8497f", "#7a6400", "#3d4f9f")
"""As ``--s0`` to ``--s5`` of ``style.css``; after Okabe, Ito, "Color Universal Design", 2008."""
MARKERS = "osD^vP"
DASHED = (0, (5, 4))
MARKS = 8  # at most, about, on a line
INK, SOFT, LINE, PAPER = "#1b2128", "#56606b", "#d8dde3", "#ffffff"
_TABLEAU = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728")  # matplotlib's own first series, of a training run's curves
_NAMES = {
    **{INK: "ink", SOFT: "soft", LINE: "line", PAPER: "paper", "#000000": "ink", "#808080": "soft"},
    **{colour: f"s{number}" for number, colour in enumerate(SERIES)},
    **dict(zip(_TABLEAU, ("s0", "s1", "s2", "no"), strict=True)),
}
_VARIABLES = {colour: f"var(--{name})" for colour, name in _NAMES.items()}
_LINE_HEIGHT, _ROW = 17, 32  # points: of a line of text, and of a row's marks below its label
_LINE_LENGTH = 54  # characters


class Chart(Markup):
    """A chart as inline SVG, which can also be saved to a file."""

    figure: Figure
    label: str

    def standalone(self) -> bytes:
        """Return it as an SVG file, in the light colours on white."""
        return _drawn(self.figure, self.label, transparent=False).encode()


styled = mpl.rc_context(
    mpl.rc_params_from_file(Path(__file__).with_name("charts.mplstyle"), use_default_template=False)
)
"""Decorates every function that draws a chart."""


def new_chart(height: float = 250) -> tuple[Figure, Axes]:
    """Start a chart of `WIDTH` by ``height`` points; in a function that is `styled`."""
    figure = Figure(figsize=(WIDTH / 72, height / 72), layout="constrained")
    return figure, figure.add_subplot()


def new_row_chart(labels: Sequence[str], x_label: str) -> tuple[Figure, Axes, list[float]]:
    """Start a chart with one row for each label, above the row's marks.

    Returns:
        The chart, and the height of each row's marks, in points downwards.
    """
    wrapped = [textwrap.fill(label, _LINE_LENGTH) for label in labels]
    heights, tops, top = [], [], 0.0
    for label in wrapped:
        tops.append(top)
        heights.append(top + _LINE_HEIGHT * (label.count("\n") + 1) + _ROW / 2)
        top = heights[-1] + _ROW / 2
    figure, axes = new_chart(top + 62)
    for label, start in zip(wrapped, tops, strict=True):
        row = axes.get_yaxis_transform()
        axes.text(0, start, label, transform=row, va="top", bbox={"facecolor": PAPER, "linewidth": 0, "pad": 1})
    axes.set_ylim(max(top, 1.0), 0)
    axes.set_yticks([])
    axes.grid(axis="x")
    axes.set_xlabel(x_label)
    return figure, axes, heights


class RocCurve(NamedTuple):
    """A ROC curve: what the legend calls it, false alarms and true ones."""

    name: str
    across: Sequence[float] | intervals.Floats
    up: Sequence[float] | intervals.Floats


@styled
def roc_chart(curves: Sequence[RocCurve], x_label: str, y_label: str, label: str, *, marked: bool = True) -> Chart:
    """Draw ROC curves with the line of chance; screen readers announce ``label``."""
    figure, axes = new_chart(330 + 18 * len(curves))
    axes.plot([0, 1], [0, 1], ":", color=SOFT, linewidth=1.2, label="chance")
    for series, curve in enumerate(curves):
        look: dict[str, Any] = {"color": colour(series), "label": curve.name, "clip_on": False}
        look |= {"markevery": (series, max(1, len(curve.across) // MARKS))} if marked else {"linewidth": 1.6}
        axes.plot(curve.across, curve.up, f"{marker(series) if marked else ''}-", **look)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel=x_label, ylabel=y_label)
    in_percent(axes)
    axes.set_aspect("equal")
    figure.legend(loc="outside lower left")
    return svg(figure, label)


@styled
def reliability_diagram(curves: Mapping[str, Sequence[calibration.Bin]], title: str) -> Markup:
    """Draw how often answers were right by stated probability, with the number of images.

    Args:
        curves: The first is filled, with its marks in front.
        title: What answered.
    """
    figure, axes = new_chart(370)
    largest = max((own.images for bins in curves.values() for own in bins), default=1)
    axes.plot([0, 1], [0, 1], color=SOFT, linewidth=1, linestyle=DASHED)
    for series, (label, bins) in reversed(list(enumerate(curves.items()))):
        stated = np.array([own.confidence for own in bins])
        right, low, high = np.array([list(own.accuracy.values()) for own in bins]).reshape(-1, 3).T
        beside = stated + (0.006 - 0.012 * series if len(curves) > 1 else 0)
        axes.bar(beside, [0.15 * own.images / largest for own in bins], 0.012, color=colour(series), alpha=0.35)
        axes.vlines(stated, low, high, colour(series), alpha=0.4, linewidth=1)
        style: dict[str, Any] = {"color": colour(series), "linewidth": 1.4, "label": label, "clip_on": False}
        hollow: dict[str, Any] = {"markerfacecolor": PAPER, "markeredgecolor": colour(series), "markeredgewidth": 1.4}
        axes.plot(stated, right, marker(series) + "-", **(style | hollow if series else style))
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="highest probability", ylabel="share that was right")
    in_percent(axes)
    if len(curves) > 1:
        figure.legend(loc="outside lower left")
    return svg(figure, f"Reliability diagram of {title}: share of right answers by stated probability")


def in_percent(axes: Axes) -> None:
    """Show shares of 0 to 1 on both axes as percentages."""
    axes.xaxis.set_major_formatter(percent_axis())
    axes.yaxis.set_major_formatter(percent_axis())


def colour(series: int) -> str:
    """Return the colour of a series."""
    return SERIES[series % len(SERIES)]


def marker(series: int) -> str:
    """Return the shape of a series' marks."""
    return MARKERS[series % len(MARKERS)]


def percent_axis() -> FuncFormatter:
    """Return the tick format for an axis of shares, 0 to 1."""
    return FuncFormatter(lambda value, _: f"{100 * value:g} %")


def svg(figure: Figure, label: str) -> Chart:
    """Embed a chart as inline SVG that screen readers announce as ``label``; labels on a page must differ."""
    drawn = _drawn(figure, label, transparent=True)
    body = drawn[drawn.index(">", drawn.index("<svg")) + 1 :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r' id="[A-Za-z0-9.]+_\d+"', "", body)  # of groups: the same in every figure
    body = re.sub(r"\s*\n\s*", "\n", body)
    body = re.sub(r"#[0-9a-f]{6}(?=[;\"])", lambda own: _VARIABLES.get(own[0], own[0]), body)
    width, height = (72 * side for side in figure.get_size_inches())
    chart = Chart(
        f'<svg class="chart" style="max-width: {30 * width / WIDTH:.1f}rem" viewBox="0 0 {width:g} {height:g}" '
        f'role="img" aria-label="{escape(label)}">{body}'
    )
    chart.figure, chart.label = figure, label
    return chart


def _drawn(figure: Figure, label: str, *, transparent: bool) -> str:
    stream = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": label}):
        figure.savefig(stream, format="svg", transparent=transparent, metadata={"Date": None})
    return stream.getvalue()


def png_bytes(figure: Figure, about: str) -> bytes:
    """Encode a figure as PNG with a description; the same figure gives the same bytes."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=150, metadata={"Description": about, "Software": "sonoforge"})
    return stream.getvalue()
