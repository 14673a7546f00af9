"""Draw the charts of a run's report."""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

from sonoforge.training.reports.charts import (
    DASHED,
    INK,
    MARKS,
    SERIES,
    SOFT,
    Chart,
    RocCurve,
    colour,
    marker,
    new_chart,
    new_row_chart,
    percent_axis,
    roc_chart,
    styled,
    svg,
)
from sonoforge.training.statistics import predictions, results, wording


@styled
def fold_strip(arms: Mapping[str, results.Record]) -> Markup:
    """Draw the accuracy of every fold, one row per arm; the bar is the pooled accuracy's 95 % interval."""
    figure, axes, heights = new_row_chart([figures["title"] for figures in arms.values()], "accuracy")
    for series, (figures, height) in enumerate(zip(arms.values(), heights, strict=True)):
        pooled, own = figures["accuracy"], colour(series)
        low, high = pooled["low"], pooled["high"]
        axes.barh(height + 8, high - low, 6, left=low, color=own, alpha=0.3)
        axes.plot([pooled["value"]] * 2, [height + 2, height + 14], color=own)
        values = figures["fold_accuracy"]["values"]
        jitter = [height - 7 + (-3, 0, 3)[n % 3] for n in range(len(values))]
        axes.plot(values, jitter, marker(series), color=own, alpha=0.75)
    axes.margins(x=0.05)  # a mark at the edge would be cut
    axes.set_xlim(right=min(1.01, axes.get_xlim()[1]))
    axes.xaxis.set_major_formatter(percent_axis())
    means = "; ".join(f"{f['title']}: mean {wording.share(f['fold_accuracy']['mean'])}" for f in arms.values())
    return svg(figure, f"Accuracy of each fold. {means}")


class Difference(NamedTuple):
    """One row of a forest plot: its name, the difference, and the smallest detectable difference, if known."""

    name: str
    change: results.Interval
    band: float | None = None


@styled
def difference_forest(rows: Sequence[Difference], what: str) -> Markup:
    """Draw differences between arms with 95 % intervals; a band covers what this many images cannot show."""
    drawn = [row for row in rows if wording.is_number(row.change["value"])]
    figure, axes, heights = new_row_chart([row.name for row in drawn], f"difference in {what}, percentage points")
    reach = 0.01
    for row, height in zip(drawn, heights, strict=True):
        change = row.change
        if wording.is_number(row.band):
            axes.barh(height, 2 * row.band, 20, left=-row.band, color=SOFT, alpha=0.16)
        axes.plot([change["low"], change["high"]], [height] * 2, "|-", color=SERIES[0], markeredgecolor=SERIES[0])
        axes.plot(change["value"], height, "o", color=SERIES[0], markersize=9)
        ends = (change["value"], change["low"], change["high"], row.band)
        reach = max([reach, *(abs(v) for v in ends if v is not None and math.isfinite(v))])
    axes.axvline(0, color=INK, linewidth=1.2, zorder=0.5)
    axes.set_xlim(-1.05 * reach, 1.05 * reach)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    digits = 1 if reach < 0.02 else 0
    axes.xaxis.set_major_formatter(lambda value, _: wording.points(value, digits) if round(value, 9) else "0")
    said = "; ".join(f"{row.name}: {wording.points(row.change['value'])} points" for row in drawn)
    return svg(figure, f"Paired differences in {what}. {said}")


@styled
def decision_curves(arms: Mapping[str, results.Record], name: str) -> Markup:
    """Draw the net benefit of acting on the probability of one class, of always acting and of never acting."""
    figure, axes = new_chart(370)
    curves = {f["title"]: f["one_against_rest"][name]["decision_curve"] for f in arms.values()}
    first = next(iter(curves.values()))
    thresholds = first["thresholds"]
    axes.plot(thresholds, first["treat_all"], color=INK, linewidth=1.2, linestyle=DASHED, label="acting on all")
    axes.axhline(0, color=SOFT, linewidth=1.2, label="acting on nobody")
    for series, (title, curve) in enumerate(curves.items()):
        own, every = colour(series), (3 * series, MARKS)
        axes.fill_between(thresholds, curve["low"], curve["high"], color=own, alpha=0.13, linewidth=0)
        axes.plot(thresholds, curve["net_benefit"], marker(series) + "-", color=own, markevery=every, label=title)
    top = max(max(curve["high"]) for curve in curves.values())
    axes.set(ylim=(-0.15 * top, 1.05 * top), xlabel="acting from this probability on", ylabel="net benefit, per image")
    axes.xaxis.set_major_formatter(percent_axis())
    figure.legend(loc="outside lower left")
    return svg(figure, f"Decision curves of {name}: net benefit by the probability from which one acts")


def roc_curves(parts: Mapping[str, predictions.Predictions], name: str, label: int) -> Chart:
    """Draw the ROC curves of one class against the rest, one per arm; ``parts`` goes by arm title."""
    curves = []
    for title, part in parts.items():
        false, true, _ = roc_curve(part.labels == label, part.probabilities[:, label])
        curves.append(RocCurve(title, false, true))
    said = f"ROC curves of {name} against the rest: sensitivity by 1 - specificity"
    return roc_chart(curves, "1 \N{MINUS SIGN} specificity", "sensitivity", said, marked=False)


def training_curves(arms: Sequence[results.Record], name: str) -> Chart:
    """Draw ``loss`` or ``accuracy`` of each arm's training by epoch: thin lines are folds, thick ones their mean."""
    curves = {own["title"]: _by_fold(own, name) for own in arms}
    return _draw_epochs(curves, f"training {name}", f"training {name} by epoch")


def train_and_test(figures: results.Record, name: str, in_turn: bool = False) -> Chart:
    """Draw ``loss`` or ``accuracy`` of an arm's training images and held-out folds by epoch.

    Thin lines are folds, thick ones their mean; ``in_turn`` puts each fold beside the previous one.
    """
    curves = {"training": _by_fold(figures, name), "test": _by_fold(figures, f"test_{name}")}
    return _draw_epochs(curves, name, f"{name} by epoch, {figures['title']}", in_turn)


def _by_fold(figures: results.Record, key: str) -> list[list[float]]:
    return [[row[key] for row in fold] for fold in figures["learning_curves"]]


@styled
def _draw_epochs(
    curves: Mapping[str, Sequence[Sequence[float]]], y_label: str, about: str, in_turn: bool = False
) -> Chart:
    figure, axes = new_chart(250 + 18 * len(curves))
    said = []
    for series, (title, folds) in enumerate(curves.items()):
        mean, own = column_means(folds), colour(series)
        if in_turn:
            along = [value for fold in folds for value in fold]
            axes.plot(range(1, len(along) + 1), along, color=own, linewidth=1.4, label=title)
        else:
            for fold in folds:
                axes.plot(range(1, len(fold) + 1), fold, color=own, linewidth=1, alpha=0.38)
            # The marks of different series lie on different epochs, so that none hides another.
            look: dict[str, Any] = {"markevery": (series % min(3, len(mean)), max(1, len(mean) // MARKS))}
            axes.plot(
                range(1, len(mean) + 1), mean, marker(series) + "-", color=own, label=title, clip_on=False, **look
            )
        said.append(f"{title} {mean[-1]:.3f} at the end")
    axes.xaxis.set_major_locator(MaxNLocator(7, integer=True))
    if "accuracy" in y_label:
        axes.yaxis.set_major_formatter(percent_axis())
    axes.set(xlabel="epoch, one fold after the other" if in_turn else "epoch", ylabel=y_label)
    figure.legend(loc="outside lower left")
    return svg(figure, f"{about}: {'; '.join(said)}")


def column_means(rows: Iterable[Sequence[float]]) -> NDArray[np.float64]:
    """Average the n-th values of several rows, which may differ in length."""
    table = np.ma.masked_invalid(np.array(list(itertools.zip_longest(*rows)), np.float64))
    return np.ma.filled(table.mean(axis=1), np.nan)
