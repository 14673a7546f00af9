"""What ``crossval`` prints of arms at several shares of the real images, and what their generated images are worth."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from sonoforge.runtime.cli.answer import say
from sonoforge.training.crossval.arms import title_of
from sonoforge.training.statistics.learning_curve import LARGEST_RATIO
from sonoforge.training.statistics.results import IntervalResult, LearningCurve, RealWorth

FIGURE_WORDS = {"accuracy": "accuracy", "macro_auc": "macro-AUC"}


def log_curves(curves: Sequence[LearningCurve]) -> None:
    """Print each figure by the number of real images, what more of them promise, and the worth of each arm's images."""
    for curve in curves:
        _log_curve(curve)


def _log_curve(curve: LearningCurve) -> None:
    what, points = FIGURE_WORDS[curve["figure"]], curve["points"]
    say("")
    width = title_width(points)
    columns = [f"{point['images']:.0f}" for point in points[curve["baseline"]]]
    say("%-*s %s", width, f"{what} by real images in training", "".join(f"{head:>10}" for head in columns))
    for name, own in points.items():
        say("%-*s %s", width, title_of(name), "".join(f"{1 - point['error']['value']:10.3f}" for point in own))
    exponent, last = curve["exponent"], curve["extrapolated"][-1]
    say(
        "the error falls with the number of real images to the power %s; at %.0f of them, by extrapolation, %s %s",
        _bracketed(-exponent["value"], -exponent["high"], -exponent["low"]),
        last["images"],
        what,
        _bracketed(1 - last["error"]["value"], 1 - last["error"]["high"], 1 - last["error"]["low"]),
    )
    for row in curve["worth"]:
        say("%s: %s", title_of(row["arm"]), describe_worth(row, what))


def describe_worth(row: RealWorth, what: str) -> str:
    """Say how many real images an arm's images are worth; results read back from a file have None for no number."""
    images, ratio = row["images"], row["ratio"]
    if not _known(images["value"]):
        said = "cannot be told, as more real images hardly helped"
    else:
        said = f"{images['value']:+.0f} (real images times {ratio['value']:.2f})"
    return f"by {what}, the added images are worth so many real ones: {said}; 95 % interval {_ends(images, ratio)}"


def title_width(arms: Iterable[str]) -> int:
    """Width of the column that holds the arms' titles."""
    return max([38, *(len(title_of(arm)) for arm in arms)])


def _ends(images: IntervalResult, ratio: IntervalResult) -> str:
    low = f"{images['low']:+.0f}" if _known(ratio["low"]) and ratio["low"] > 0 else "no end"
    high = f"{images['high']:+.0f}" if _known(ratio["high"]) else f"no end (beyond {LARGEST_RATIO:.0f} times)"
    return f"{low} to {high}"


def _known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _bracketed(value: float, low: float, high: float) -> str:
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"
