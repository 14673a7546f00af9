"""Sliced Wasserstein distance: how far two sets are apart along random directions, on average.

Rabin, Peyre, Delon, Bernot, "Wasserstein Barycenter and Its Application to Texture Mixing", SSVM 2011; here with
the Wasserstein-1 distance, and with all directions of length 1.  No covariance, no kernel, no neighbours: it needs
no more images than dimensions, but like FID it is above 0 on average for equal distributions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.distances.embeddings import check_pair
from sonoforge.runtime.seeds import derive_seed

_BLOCK_ENTRIES = 8_000_000  # projections held at a time: 64 MB


def sliced_wasserstein(generated: NDArray[Any], real: NDArray[Any], projections: int = 512, seed: int = 0) -> float:
    """Measure the mean Wasserstein-1 distance between the projections on random unit directions.

    Args:
        generated: (N, D).
        real: (M, D); the counts may differ, each projection is compared exactly.
        projections: How many directions, uniform on the sphere.
        seed: Of the directions.

    Returns:
        0 or more, in units of the features.

    Raises:
        SonoforgeError: An empty set, or a feature that is not a finite number.
        ValueError: Not two tables of one width, or no projections.
    """
    x, y = check_pair("sliced Wasserstein", generated, real, minimum=1)
    if projections < 1:
        raise ValueError(f"sliced Wasserstein: found {projections} projections, expected at least 1")
    rng = np.random.default_rng(derive_seed(seed, "sliced Wasserstein directions"))
    directions = unit_directions(projections, x.shape[1], rng)
    total = 0.0
    step = max(1, _BLOCK_ENTRIES // (len(x) + len(y)))
    for start in range(0, projections, step):
        block = directions[start : start + step]
        total += float(wasserstein_1(block @ x.T, block @ y.T).sum())
    return total / projections


def unit_directions(count: int, size: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw (count, size) vectors of length 1, uniform on the sphere: normal numbers scaled to length 1."""
    directions = rng.standard_normal((count, size))
    return np.asarray(directions / np.linalg.norm(directions, axis=1, keepdims=True))


def wasserstein_1(first: NDArray[Any], second: NDArray[Any]) -> NDArray[np.float64]:
    """(P,): Wasserstein-1 distance between each row of (P, N) and that of (P, M), as sets of N and of M numbers.

    In one dimension it is the area between the two quantile functions: for equal counts the mean distance between
    the sorted numbers.  Otherwise both functions are constant between neighbouring levels of i / N and j / M.
    """
    first, second = np.sort(first, axis=1), np.sort(second, axis=1)
    n, m = first.shape[1], second.shape[1]
    if n == m:
        return np.asarray(np.abs(first - second).mean(1, dtype=np.float64))
    levels = np.union1d(np.arange(n + 1) * m, np.arange(m + 1) * n)  # in units of 1 / (N M), exact
    widths = np.diff(levels) / (n * m)
    gaps = np.abs(first[:, levels[:-1] // m] - second[:, levels[:-1] // n])
    return np.asarray(gaps @ widths.astype(gaps.dtype), np.float64)
