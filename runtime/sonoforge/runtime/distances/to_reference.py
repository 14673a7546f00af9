"""The distances between a set of embeddings and a reference set that ``sonoforge quality --against`` gives."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.distances.fid import frechet_distance
from sonoforge.runtime.distances.halves import Measured, draw_halves, summarise
from sonoforge.runtime.distances.kernel import kernel_distance
from sonoforge.runtime.distances.neighbours import precision_recall
from sonoforge.runtime.distances.sliced import sliced_wasserstein

SEED = 0
REPEATS = 100  # a percentile of 2.5 % needs some draws beyond it
PROJECTIONS = 512
NEIGHBOURS = 3  # Kynkaanniemi 2019

# Each distance's name in the table, the number of images of each kind it needs, and whether more is better.
DISTANCES: dict[str, tuple[str, int, bool]] = {
    "frechet": ("Frechet distance", 2, False),
    "kid": ("KID", 3, False),
    "sliced_wasserstein": ("sliced Wasserstein", 2, False),
    "precision": ("precision", NEIGHBOURS + 1, True),
    "recall": ("recall", NEIGHBOURS + 1, True),
}
DEFINITIONS = {
    "frechet": "squared Frechet distance of two Gaussians (Heusel 2017), biased upwards for few images",
    "kid": "unbiased squared MMD, kernel (x.y / D + 1)^3 (Binkowski 2018), whole sets, jackknife standard error",
    "sliced_wasserstein": f"mean Wasserstein-1 distance along {PROJECTIONS} random unit directions (Rabin 2011)",
    "precision": f"share of the given images in the ball of a reference image, k = {NEIGHBOURS} (Kynkaanniemi 2019)",
    "recall": f"share of the reference images in the ball of a given image, k = {NEIGHBOURS} (Kynkaanniemi 2019)",
}

Distances = dict[str, dict[str, float | None] | None]
"""Figures by distance and name."""


def measure_distances(given: NDArray[Any], reference: NDArray[Any]) -> tuple[Distances, int]:
    """Measure how far embeddings (N, D) are from a reference set (M, D), beside its floor: reference against reference.

    N and M are at least 2.

    Returns:
        For each of `DISTANCES` the fields of `sonoforge.runtime.distances.halves.Measured`, ``kid`` with a
        ``standard_error`` too; all but ``value`` are None where the halves are too small, and the whole entry where
        the sets are. And the number n of images of a half.
    """
    full = _figures(given, reference)
    matched: dict[str, list[float]] = defaultdict(list)
    floor: dict[str, list[float]] = defaultdict(list)
    size = min(len(given), len(reference)) // 2
    draws = draw_halves(np.arange(len(reference)), len(given), REPEATS, SEED) if size >= 2 else ()
    for first, second, made in draws:
        for figures, store in ((_figures(given[made], reference[first]), matched),
                               (_figures(reference[second], reference[first]), floor)):  # fmt: skip
            for name, value in figures.items():
                store[name].append(value)
    found: Distances = {}
    for name, (_, _, more_is_better) in DISTANCES.items():
        if name not in full:
            found[name] = None
        elif not matched[name]:
            found[name] = {**dict.fromkeys(Measured._fields), "value": full[name]}
        else:
            found[name] = summarise(full[name], matched[name], floor[name], more_is_better)._asdict()
    if found["kid"] is not None:
        found["kid"]["standard_error"] = kernel_distance(given, reference).standard_error
    return found, size


def _figures(given: NDArray[Any], reference: NDArray[Any]) -> dict[str, float]:
    """Return each distance between (N, D) and (M, D) that so many images allow."""
    figures = {
        "frechet": frechet_distance(given, reference),
        "sliced_wasserstein": sliced_wasserstein(given, reference, PROJECTIONS, SEED),
    }
    fewest = min(len(given), len(reference))
    if fewest >= DISTANCES["kid"][1]:
        figures["kid"] = kernel_distance(given, reference).value
    if fewest >= DISTANCES["precision"][1]:
        figures |= precision_recall(given, reference, NEIGHBOURS)._asdict()
    return figures
