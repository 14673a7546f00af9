"""How the error falls with the number of real images, and how many of them the generated images are worth.

    python training/studies/where-it-helps/learning_curve.py RUN/predictions.csv

RUN is of ``crossval`` with at least three ``crossval.real_shares``.

The error falls about as a power of the number n of training images, e(n) = a n^-b (Figueroa et al., "Predicting sample
size required for classification performance", BMC Med. Inform. Decis. Mak. 12:8, 2012; without their floor, which a
handful of shares cannot separate from the exponent, so extrapolations are optimistic).  An arm that adds images is
assumed to multiply the real ones by a ratio k, e(n) = a (k n)^-b: on logarithmic axes, a parallel line d = -b log k
above.  Both lines are fitted together by least squares.

*Intervals* draw whole groups of test images, the same for all arms, shares and seeds, and fit the lines again.  A
quotient has no useful percentile interval if its denominator may be 0, as with a flat curve.  So the interval of k is
the set of all k for which the interval of d + b log k contains 0 (Fieller, JRSS B 16, 1954); it may have no end.  It
covers the choice of test images, not of training images.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sonoforge.training.statistics import classification
from sonoforge.training.statistics.intervals import (
    PERCENTILES,
    Figure,
    Floats,
    Labels,
    group_weights,
    percentile_interval,
)
from sonoforge.training.statistics.predictions import SHARE_MARK, Predictions, read_predictions
from sonoforge.training.statistics.results import Interval

LEAST_SHARES = 3
"""Two points always lie on a line."""
FURTHEST = 2.0
"""The curve is extrapolated up to this many times the real images."""
LARGEST_RATIO = 32.0
"""Of k; an interval that reaches it, or its inverse, is open."""
_STEPS = 401  # of log k: steps of 1.7 %

FIGURES: dict[str, Figure[Labels]] = {"accuracy": classification.accuracies, "macro_auc": classification.macro_aucs}
"""Figures for which 1 less the figure is the error."""


class Lines(NamedTuple):
    """Two parallel lines of the logarithm of the error, each fitted R times."""

    slope: Floats  # (R,) b, positive where the error falls
    offset: Floats  # (R,) d: mean of the second line less that of the first


def fit_lines(images: Floats, first: Floats, second: Floats) -> Lines:
    """Fit two parallel lines by least squares to errors (S, R) above 0 at numbers of images (S,)."""
    centred = np.log(images) - np.log(images).mean()
    both = np.log(first) + np.log(second)
    slope: Floats = -(centred @ both) / (2 * float(centred @ centred))
    offset: Floats = np.log(second).mean(axis=0) - np.log(first).mean(axis=0)
    return Lines(slope, offset)


def real_ratio(lines: Lines) -> Interval:
    """Return the ratio k with its 95 % interval.

    Args:
        lines: The estimate in place 0, then those of the resampled groups.

    Returns:
        The value is nan if the error falls too little for a ratio within `LARGEST_RATIO`; open ends are 0 and infinity.
    """
    slope, offset, reach = float(lines.slope[0]), float(lines.offset[0]), math.log(LARGEST_RATIO)
    value = math.exp(-offset / slope) if slope > 0 and abs(offset) <= slope * reach else math.nan
    tried, known = np.linspace(-reach, reach, _STEPS), ~np.isnan(lines.offset[1:])
    # With a slope below 0, a worse arm would seem worth more real images.
    drawn = lines.offset[1:][known, None] + np.maximum(lines.slope[1:][known, None], 0) * tried
    low, high = np.percentile(drawn, PERCENTILES, axis=0)
    held = np.flatnonzero((low <= 0) & (high >= 0))
    if not len(held):  # between two of the k tried, or beyond all
        low, high = (0.0, math.inf) if math.isnan(value) else (value, value)
        return Interval(value=value, low=low, high=high)
    first, last = int(held[0]), int(held[-1])
    return Interval(
        value=value,
        low=0.0 if first == 0 else math.exp(tried[first]),
        high=math.inf if last == _STEPS - 1 else math.exp(tried[last]),
    )


def split_share(arm: str) -> tuple[str, float]:
    """Return an arm's name without its share of the real images, and the share."""
    name, _, share = arm.partition(SHARE_MARK)
    return name, float(share or 1)


def learning_curves(predictions: Sequence[Predictions]) -> list[dict[str, Any]]:
    """Describe the curves of every figure; empty if the first arm has fewer than `LEAST_SHARES` shares."""
    baseline, _ = split_share(predictions[0].arm)
    shares = sorted({share for name, share in (split_share(part.arm) for part in predictions) if name == baseline})
    if len(shares) < LEAST_SHARES:
        return []
    return [_describe(figure, predictions, baseline, shares) for figure in FIGURES]


def _describe(figure: str, predictions: Sequence[Predictions], baseline: str, shares: list[float]) -> dict[str, Any]:
    first = predictions[0]
    whole = len(first.files) * (1 - 1 / len(np.unique(first.folds)))
    names = list(dict.fromkeys(split_share(part.arm)[0] for part in predictions))
    weights = group_weights(first.groups)
    errors = {
        (name, share): _errors(
            figure, [part for part in predictions if split_share(part.arm) == (name, share)], weights
        )
        for name, share in dict.fromkeys(split_share(part.arm) for part in predictions)
    }
    real = np.stack([errors[baseline, share] for share in shares])
    images = whole * np.array(shares)
    alone = fit_lines(images, real, real)
    middle = np.log(real).mean(axis=0) + alone.slope * np.log(images).mean()
    beyond = np.linspace(1.0, FURTHEST, 5)
    return {
        "figure": figure,
        "images": whole,
        "baseline": baseline,
        "points": {
            name: [
                {"images": whole * share, "error": percentile_interval(errors[name, share])}
                for share in sorted(share for own, share in errors if own == name)
            ]
            for name in names
        },
        "exponent": percentile_interval(alone.slope),
        "extrapolated": [
            {
                "images": float(whole * times),
                "error": percentile_interval(np.exp(middle - alone.slope * math.log(whole * times))),
            }
            for times in beyond
        ],
        "worth": [
            _worth(name, whole, images, errors, (baseline, shares))
            for name in names
            if name != baseline and all((name, share) in errors for share in shares)
        ],
    }


def _worth(
    name: str, whole: float, images: Floats, errors: dict[tuple[str, float], Floats], real: tuple[str, list[float]]
) -> dict[str, Any]:
    baseline, shares = real
    lines = fit_lines(images, *(np.stack([errors[own, share] for share in shares]) for own in (baseline, name)))
    ratio = real_ratio(lines)
    value, low, high = (whole * (ratio[end] - 1) for end in ("value", "low", "high"))
    return {"arm": name, "ratio": ratio, "images": Interval(value=value, low=low, high=high)}


def _errors(figure: str, parts: Sequence[Predictions], weights: Floats) -> Floats:
    """Return the mean error of the seeds, (R,); half an image is added, so that no error is 0."""
    found = []
    for part in parts:
        error = 1 - FIGURES[figure](part.labels, part.probabilities, weights)
        found.append((error * len(part.files) + 0.5) / (len(part.files) + 1))
    mean: Floats = np.mean(found, axis=0)
    return mean


def main() -> None:
    print(json.dumps(learning_curves(read_predictions(Path(sys.argv[1]))[0]), indent=2))


if __name__ == "__main__":
    main()
