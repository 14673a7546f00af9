"""The report's charts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from sonoforge.training.gan.checkpoint import COLLAPSE_FRACTION
from sonoforge.training.pages.run.evidence import Bin, GeneratorRuns
from sonoforge.training.pages.run.words import is_number, points, share
from sonoforge.training.pages.svg import (
    SERIES,
    WIDTH,
    Frame,
    axes,
    box,
    column_means,
    finite,
    marker,
    nice_ticks,
    path,
    rule,
    svg,
    text,
    wrapped,
)

_LINE = 17  # height of a line of 13-unit text
_MARKED = 12  # a line of at most so many points shows them


def fold_strip(arms: Mapping[str, Mapping[str, Any]]) -> Markup:
    """Accuracy of every fold, one row an arm; the bar is the pooled accuracy's 95 % interval."""
    values = [v for figures in arms.values() for v in figures["fold_accuracy"]["values"]]
    ends = [figures["accuracy"][end] for figures in arms.values() for end in ("low", "high")]
    ticks = nice_ticks(min(finite([*values, *ends])), min(1.0, max(finite([*values, *ends]))))
    rows = [(wrapped(figures["title"], WIDTH - 20), figures) for figures in arms.values()]
    heights = [_LINE * len(lines) + 44 for lines, _ in rows]
    frame = Frame((ticks[0], ticks[-1]), (0, 1), height=sum(heights) + 46, left=22, right=24, top=4)
    parts = [rule(frame.across(t), frame.top, frame.across(t), frame.height - frame.bottom, "grid") for t in ticks]
    top = frame.top
    for series, ((lines, figures), height) in enumerate(zip(rows, heights, strict=True)):
        for n, line in enumerate(lines):
            parts.append(text(frame.left, top + _LINE * (n + 1) - 3, line, "label"))
        y = top + _LINE * len(lines) + 12
        low, high = frame.across(figures["accuracy"]["low"]), frame.across(figures["accuracy"]["high"])
        parts.append(box(low, y + 11, high - low, 6, f"bar s{series % SERIES}"))
        middle = frame.across(figures["accuracy"]["value"])
        parts.append(rule(middle, y + 8, middle, y + 20, f"line s{series % SERIES}"))
        for n, value in enumerate(figures["fold_accuracy"]["values"]):
            parts.append(marker(frame.across(value), y + (-3, 0, 3)[n % 3], series, kind="dot through"))
        top += height
    parts.append(axes(frame, ticks, [], "accuracy", "", x_format=lambda v: f"{100 * v:g} %"))
    means = "; ".join(f"{f['title']}: mean {share(f['fold_accuracy']['mean'])}" for f in arms.values())
    return svg(frame.height, parts, f"Accuracy of each fold. {means}")


def difference_forest(rows: Sequence[Mapping[str, Any]], titles: Mapping[str, str]) -> Markup:
    """Accuracy differences with 95 % intervals; the band is what this many images cannot show."""
    drawn = [row for row in rows if is_number(row["accuracy_difference"]["value"])]
    bands = [row["minimum_detectable_difference"] for row in drawn]
    ends = [row["accuracy_difference"][end] for row in drawn for end in ("value", "low", "high")]
    reach = max([0.01, *(abs(v) for v in finite([*ends, *bands]))])
    ticks = nice_ticks(-reach, reach, 4)
    labels = [
        [*wrapped(titles[row["second"]], WIDTH - 20), *wrapped(f"− {titles[row['first']]}", WIDTH - 20)]
        for row in drawn
    ]
    heights = [_LINE * len(lines) + 34 for lines in labels]
    frame = Frame((ticks[0], ticks[-1]), (0, 1), height=sum(heights) + 46, left=24, right=24, top=4)
    bottom = frame.height - frame.bottom
    parts = [rule(frame.across(t), frame.top, frame.across(t), bottom, "grid" if t else "zero") for t in ticks]
    top = frame.top
    for row, lines, height in zip(drawn, labels, heights, strict=True):
        change, band = row["accuracy_difference"], row["minimum_detectable_difference"]
        for n, line in enumerate(lines):
            parts.append(text(2, top + _LINE * (n + 1) - 3, line, "label"))
        y = top + _LINE * len(lines) + 14
        if is_number(band):
            parts.append(box(frame.across(-band), y - 10, frame.across(band) - frame.across(-band), 20, "band"))
        parts.append(rule(frame.across(change["low"]), y, frame.across(change["high"]), y, "line s0"))
        for end in ("low", "high"):
            parts.append(rule(frame.across(change[end]), y - 5, frame.across(change[end]), y + 5, "line s0"))
        parts.append(marker(frame.across(change["value"]), y, 0, 5))
        top += height
    digits = 1 if reach < 0.02 else 0
    names = axes(frame, ticks, [], "difference in accuracy, points", "", lambda v: points(v, digits) if v else "0")
    said = "; ".join(
        f"{titles[row['second']]} minus {titles[row['first']]}: {points(row['accuracy_difference']['value'])} points"
        for row in drawn
    )
    return svg(frame.height, [*parts, names], f"Paired differences in accuracy. {said}")


def learning_curves(arms: Mapping[str, Mapping[str, Any]], name: str, y_label: str) -> Markup:
    """One statistic of the classifier's training by epoch: thin lines are folds, thick ones their mean."""
    curves = [[[float(row[name]) for row in fold] for fold in f["learning_curves"]] for f in arms.values()]
    lengths = [len(fold) for folds in curves for fold in folds]
    values = finite(v for folds in curves for fold in folds for v in fold)
    y_ticks = nice_ticks(min(values, default=0), max(values, default=1))
    if name == "accuracy":
        y_ticks = [t for t in y_ticks if t <= 1]
    last = max(lengths, default=1)
    x_ticks = [t for t in nice_ticks(1, max(last, 2), 6) if t == int(t) and 1 <= t <= last]
    if 1 not in x_ticks:
        x_ticks = [1, *x_ticks]
    frame = Frame((1, max(last, 2)), (y_ticks[0], max(y_ticks[-1], *values) if values else 1))
    thin, thick = [], []
    for series, folds in enumerate(curves):
        for fold in folds:
            thin.append(path(frame, range(1, len(fold) + 1), fold, f"line thin s{series % SERIES}"))
        mean = column_means(folds)
        thick.append(path(frame, range(1, len(mean) + 1), mean, f"line s{series % SERIES}"))
        if mean:
            # Markers of different arms stand on different epochs, so that none hides another.
            shown = range(series % max(1, min(3, len(mean))), len(mean), max(1, len(mean) // 6))
            thick += [marker(frame.across(n + 1), frame.up(mean[n]), series) for n in shown]
    percent = "{:g}".format if name != "accuracy" else (lambda v: f"{100 * v:g} %")
    drawn = axes(frame, x_ticks, y_ticks, "epoch", y_label, y_format=percent)
    ends = [column_means(folds)[-1:] for folds in curves]
    said = "; ".join(
        f"{f['title']}: {end[0]:.3f} at the end" for f, end in zip(arms.values(), ends, strict=True) if end
    )
    return svg(frame.height, [drawn, *thin, *thick], f"{y_label} by epoch. {said}")


def reliability_diagram(raw: Sequence[Bin], calibrated: Sequence[Bin], title: str) -> Markup:
    """Accuracy against stated probability, before and after temperature scaling, with the number of images."""
    ticks = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    frame = Frame((0, 1), (0, 1), height=330)
    parts = [axes(frame, ticks, ticks, "highest probability", "share that was right", _percent, _percent)]
    largest = max((b.images for b in (*raw, *calibrated)), default=1)
    for bins, series, shift in ((raw, 1, -4), (calibrated, 0, 0)):
        for found in bins:
            height = 40 * found.images / largest
            x = frame.across(found.confidence) + shift
            parts.append(box(x, frame.up(0) - height, 4, height, f"bar s{series}"))
    parts.append(rule(frame.across(0), frame.up(0), frame.across(1), frame.up(1), "ideal"))
    for bins, series, kind in ((raw, 1, "ring"), (calibrated, 0, "dot")):
        parts.append(
            path(frame, [b.confidence for b in bins], [b.accuracy.value for b in bins], f"line fine s{series}")
        )
        for found in bins:
            x = frame.across(found.confidence)
            parts.append(
                rule(x, frame.up(found.accuracy.low), x, frame.up(found.accuracy.high), f"line thin s{series}")
            )
            parts.append(marker(x, frame.up(found.accuracy.value), series, 4.5, kind))
    return svg(frame.height, parts, f"Reliability diagram of {title}: share of right answers by stated probability")


def _percent(value: float) -> str:
    return f"{100 * value:.0f} %"


def generator_curves(runs: GeneratorRuns, names: Sequence[str], y_label: str, *, limits: bool = False) -> Markup:
    """Statistics of one class's generators by step: thin lines are trainings, thick ones their mean.

    Args:
        runs: All trainings of the class.
        names: Keys of ``stats.jsonl`` to draw, one series each.
        y_label: Name of the vertical axis.
        limits: Draw the real images' diversity (1) and the line of collapse.
    """
    steps = [[float(row["step"]) for row in curve] for curve in runs.curves]
    values = finite(row.get(name) for curve in runs.curves for row in curve for name in names)
    marks = [0.0, 1.0] if limits else [0.0]
    y_ticks = nice_ticks(min([*values, *marks]), max([*values, *marks]))
    x_ticks = nice_ticks(0, max((s for own in steps for s in own), default=1), 4)
    frame = Frame((0, x_ticks[-1]), (y_ticks[0], y_ticks[-1]), top=26)
    parts = [axes(frame, x_ticks, y_ticks, "step", y_label)]
    if limits:
        for level, words in ((1.0, "real images"), (COLLAPSE_FRACTION, "called a collapse below")):
            parts.append(rule(frame.left, frame.up(level), WIDTH - frame.right, frame.up(level), "ideal"))
            parts.append(text(WIDTH - frame.right - 2, frame.up(level) - 4, words, "note", "end"))
    for series, name in enumerate(names):
        rows = [[_value(row.get(name)) for row in curve] for curve in runs.curves]
        for own, row in zip(steps, rows, strict=True):
            parts.append(path(frame, own, row, f"line thin s{series}"))
        mean, longest = column_means(rows), max(steps, key=len, default=[])
        parts.append(path(frame, longest, mean, f"line s{series}"))
        every = max(1, len(mean) // _MARKED)
        parts += [
            marker(frame.across(s), frame.up(v), series)
            for s, v in list(zip(longest, mean, strict=True))[::every]
            if is_number(v)
        ]
    return svg(frame.height, parts, f"{y_label} of the generators of class {runs.name} by training step")


def _value(value: float | None) -> float:
    return float("nan") if value is None else float(value)
