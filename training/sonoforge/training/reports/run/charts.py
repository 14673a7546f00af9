"""The charts of a run's report."""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve, roc_curve

from sonoforge.training.crossval.evidence import GeneratorRuns
from sonoforge.training.evaluation import COLLAPSE_FRACTION
from sonoforge.training.reports.charts import (
    DASHED,
    INK,
    MARKS,
    SERIES,
    SOFT,
    Chart,
    RocCurve,
    colour,
    in_percent,
    marker,
    new_chart,
    new_row_chart,
    percent_axis,
    points_axis,
    roc_chart,
    styled,
    svg,
)
from sonoforge.training.statistics.predictions import Predictions
from sonoforge.training.statistics.results import Interval, Record
from sonoforge.training.statistics.wording import is_number, points, share


@styled
def fold_strip(arms: Mapping[str, Record]) -> Markup:
    """Draw the accuracy of every fold, one row an arm; the bar is the pooled accuracy's 95 % interval."""
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
    means = "; ".join(f"{f['title']}: mean {share(f['fold_accuracy']['mean'])}" for f in arms.values())
    return svg(figure, f"Accuracy of each fold. {means}")


class Difference(NamedTuple):
    """One row of a forest plot: its name, the difference, and the smallest one that can be shown, if that is known."""

    name: str
    change: Interval
    band: float | None = None


@styled
def difference_forest(rows: Sequence[Difference], what: str) -> Markup:
    """Draw differences between arms with 95 % intervals; a band is what this many images cannot show."""
    drawn = [row for row in rows if is_number(row.change["value"])]
    figure, axes, heights = new_row_chart([row.name for row in drawn], f"difference in {what}, percentage points")
    reach = 0.01
    for row, height in zip(drawn, heights, strict=True):
        change = row.change
        if is_number(row.band):
            axes.barh(height, 2 * row.band, 20, left=-row.band, color=SOFT, alpha=0.16)
        axes.plot([change["low"], change["high"]], [height] * 2, "|-", color=SERIES[0], markeredgecolor=SERIES[0])
        axes.plot(change["value"], height, "o", color=SERIES[0], markersize=9)
        ends = (change["value"], change["low"], change["high"], row.band)
        reach = max([reach, *(abs(v) for v in ends if v is not None and math.isfinite(v))])
    axes.axvline(0, color=INK, linewidth=1.2, zorder=0.5)
    axes.set_xlim(-1.05 * reach, 1.05 * reach)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(points_axis(1 if reach < 0.02 else 0))
    said = "; ".join(f"{row.name}: {points(row.change['value'])} points" for row in drawn)
    return svg(figure, f"Paired differences in {what}. {said}")


@styled
def decision_curves(arms: Mapping[str, Record], name: str) -> Markup:
    """Draw the net benefit of acting on the probability of one class, with that of acting on all and on nobody."""
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


def roc_curves(parts: Mapping[str, Predictions], name: str, label: int) -> Chart:
    """Draw the ROC curves of one class against the rest, one an arm; ``parts`` by the arms' titles."""
    curves = []
    for title, part in parts.items():
        false, true, _ = roc_curve(part.labels == label, part.probabilities[:, label])
        curves.append(RocCurve(title, false, true))
    said = f"ROC curves of {name} against the rest: sensitivity by 1 - specificity"
    return roc_chart(curves, "1 \N{MINUS SIGN} specificity", "sensitivity", said, marked=False)


@styled
def precision_recall_curves(parts: Mapping[str, Predictions], name: str, label: int) -> Chart:
    """Draw the precision-recall curves of one class against the rest, one an arm; ``parts`` by the arms' titles."""
    figure, axes = new_chart(370)
    frequent = float(np.mean(next(iter(parts.values())).labels == label))
    axes.axhline(frequent, color=SOFT, linewidth=1.2, linestyle=":", label="chance")
    for series, (title, part) in enumerate(parts.items()):
        precision, recall, _ = precision_recall_curve(part.labels == label, part.probabilities[:, label])
        style: dict[str, Any] = {"color": colour(series), "linewidth": 1.6, "label": title, "clip_on": False}
        axes.step(recall, precision, where="post", **style)
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall (sensitivity)", ylabel="precision")
    in_percent(axes)
    axes.set_aspect("equal")
    figure.legend(loc="outside lower left")
    return svg(figure, f"Precision-recall curves of {name} against the rest: precision by recall")


@styled
def learning_curves(arms: Mapping[str, Record], name: str, y_label: str) -> Markup:
    """Draw one statistic of the classifiers' training by epoch: thin lines are folds, thick ones their mean.

    Empty where no arm was trained by epochs, as comparators are not.
    """
    trained = [figures for figures in arms.values() if any(figures["learning_curves"])]
    if not trained:
        return Markup()
    figure, axes = new_chart(250 + 18 * len(trained))
    said = []
    for series, figures in enumerate(trained):
        folds = figures["learning_curves"]
        # The marks of different arms lie on different epochs, so that none hides another.
        first = series % min(3, max(map(len, folds)))
        mean = _draw_runs(axes, folds, ("epoch", name), series, figures["title"], first)
        said.append(f"{figures['title']}: {mean[-1]:.3f} at the end")
    _label_epochs(axes, name, y_label)
    figure.legend(loc="outside lower left")
    return svg(figure, f"{y_label} by epoch. {'; '.join(said)}")


@styled
def train_and_test(figures: Record, name: str, y_label: str, *, in_turn: bool = False) -> Markup:
    """Draw one statistic of an arm by epoch, of its training images and of the held-out folds; empty if not measured.

    Thin lines are folds, thick ones their mean; ``in_turn``, each fold stands beside the one before.
    """
    folds = [fold for fold in figures["learning_curves"] if fold and f"test_{name}" in fold[-1]]
    if not folds:
        return Markup()
    figure, axes = new_chart(290)
    said = []
    for series, (key, label) in enumerate(((name, "training"), (f"test_{name}", "test"))):
        if in_turn:
            up = [row[key] for fold in folds for row in fold]
            axes.plot(range(1, len(up) + 1), up, color=colour(series), linewidth=1.4, label=label)
            end = column_means([row[key] for row in fold] for fold in folds)[-1]
        else:
            end = _draw_runs(axes, folds, ("epoch", key), series, label)[-1]
        said.append(f"{label} {end:.3f} at the end")
    _label_epochs(axes, name, y_label)
    if in_turn:
        axes.set_xlabel("epoch, one fold after the other")
    figure.legend(loc="outside lower left", ncols=2)
    return svg(figure, f"{y_label} by epoch, {figures['title']}: {'; '.join(said)}")


def _label_epochs(axes: Axes, name: str, y_label: str) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(7, integer=True))
    if name == "accuracy":
        axes.yaxis.set_major_formatter(percent_axis())
    axes.set(xlabel="epoch", ylabel=y_label)


@styled
def risk_coverage(arms: Mapping[str, Record]) -> Markup:
    """Draw the error rate of the scans that keep their label against their share."""
    figure, axes = new_chart(370)
    for series, figures in enumerate(arms.values()):
        shares, errors = np.array(figures["risk_coverage"]["curve"]).T
        axes.plot(shares, errors, color=colour(series), linewidth=1.4, label=figures["title"])
    for target in next(iter(arms.values()))["risk_coverage"]["targets"]:
        axes.axhline(target["error"], color=SOFT, linewidth=1, linestyle=DASHED)
    axes.set(xlim=(0, 1.01), xlabel="share of scans that keep their label", ylabel="share of them that is wrong")
    axes.set_ylim(bottom=0)
    in_percent(axes)
    figure.legend(loc="outside lower left")
    return svg(figure, "Risk-coverage curve: error rate of the scans that keep their label, the surest first")


@styled
def generator_losses(runs: GeneratorRuns) -> Markup:
    """Draw both losses of one class's generators by step: thin lines are trainings, thick ones their mean."""
    figure, axes = new_chart(290)
    for series, network in enumerate(("discriminator", "generator")):
        _draw_runs(axes, runs.curves, ("step", f"{network}_loss"), series, network)
    _label_steps(axes, "loss")
    figure.legend(loc="outside lower left", ncols=2)
    return svg(figure, f"Losses of the generators of class {runs.name} by training step")


@styled
def generator_diversity(runs: GeneratorRuns) -> Markup:
    """Draw the diversity of one class's generators by step, with that of real images and the line of collapse."""
    figure, axes = new_chart(290)
    for level, words in ((1.0, "real images"), (COLLAPSE_FRACTION, "collapsed below this line")):
        axes.axhline(level, color=SOFT, linewidth=1, linestyle=DASHED)
        axes.text(1, level, words, transform=axes.get_yaxis_transform(), color=SOFT, va="bottom", ha="right")
    _draw_runs(axes, runs.curves, ("step", "diversity"), 0)
    _label_steps(axes, "diversity")
    axes.set_ylim(0, max(1.12, axes.get_ylim()[1]))
    return svg(figure, f"Diversity of the generators of class {runs.name} by training step")


def _label_steps(axes: Axes, y_label: str) -> None:
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set(xlabel="step", ylabel=y_label)


def _draw_runs(
    axes: Axes,
    runs: Sequence[Sequence[Mapping[str, float]]],
    keys: tuple[str, str],
    series: int,
    label: str = "",
    first: int = 0,
) -> NDArray[np.float64]:
    """Draw one key of runs' rows over another, each run thinly and their mean thickly; return the mean.

    The mean, which has the label, has marks from the ``first`` point on.
    """
    along = [[row[keys[0]] for row in run] for run in runs]
    up = [[row.get(keys[1]) for row in run] for run in runs]
    for xs, ys in zip(along, up, strict=True):
        axes.plot(xs, np.array(ys, np.float64), color=colour(series), linewidth=1, alpha=0.38)
    mean = column_means(up)
    every = (first, max(1, len(mean) // MARKS))
    look: dict[str, Any] = {"color": colour(series), "markevery": every, "label": label or None, "clip_on": False}
    axes.plot(max(along, key=len, default=[]), mean, marker(series) + "-", **look)
    return mean


def column_means(rows: Iterable[Sequence[float | None]]) -> NDArray[np.float64]:
    """Average the n-th values of several rows; rows may differ in length, values that are missing are left out."""
    columns = list(itertools.zip_longest(*rows))
    table = np.ma.masked_invalid(np.array(columns, np.float64).reshape(len(columns), -1 if columns else 1))
    return np.ma.filled(table.mean(axis=1), np.nan)
