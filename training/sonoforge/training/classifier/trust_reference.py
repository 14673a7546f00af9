"""Fit what the runtime judges an image by: the Gaussian and the points of the training embeddings, and their pose."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.images.scan_pose import ROWS, dark_columns, profile, upright_score
from sonoforge.runtime.inference.nearest_training import (
    AXES,
    NeighbourReference,
    directions,
    neighbour_distances,
)
from sonoforge.runtime.inference.trust import TrustReference, distances

_RIDGE = 1.0
"""Added to the diagonal of the profiles' moments; with 780 images 0.1 to 10 turn the same scans the right way up."""
_ROUNDING = 2e-3
"""Largest change of a distance, as a share of it, for the sake of axes of half the size; on BUSI it is 0.0002."""


class HeldOutTrust(NamedTuple):
    """What each image (N,) is judged by, measured with a network that had not seen it."""

    neighbours: list[float]  # `nearest_training.neighbour_distances`
    upright: list[float]  # `scan_pose.upright_score`
    dark: list[float]  # `scan_pose.dark_columns`


def fit_neighbours(embeddings: NDArray[np.float32]) -> NeighbourReference:
    """Place training embeddings (N, D) on the leading axes of their directions."""
    own = directions(embeddings)
    mean = own.mean(axis=0)
    axes = np.linalg.svd(own - mean, full_matrices=False)[2][:AXES].T.astype(np.float16)
    points = (own - mean) @ axes.astype(np.float32)
    return NeighbourReference(mean.astype(np.float32), axes, points.astype(np.float16))


def fit_upright(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Weights (`ROWS`,) that give the profiles of upright images (N, S, S, 3) about 1, and so turned ones about -1.

    Ridge regression of 1 on the profiles, without an intercept.
    """
    rows = np.concatenate([profile(pixels[first : first + 64]) for first in range(0, len(pixels), 64)])
    weights: NDArray[np.float64] = np.linalg.solve(rows.T @ rows + _RIDGE * np.eye(ROWS), rows.sum(axis=0))
    return weights


def assess_held_out(
    pixels: NDArray[np.uint8],
    embeddings: NDArray[np.float32],
    neighbours: NeighbourReference,
    upright: NDArray[np.float64],
) -> HeldOutTrust:
    """Measure images (N, S, S, 3) with embeddings (N, D)."""
    return HeldOutTrust(
        neighbours=neighbour_distances(embeddings, neighbours).tolist(),
        upright=upright_score(pixels, upright.tolist()).tolist(),
        dark=dark_columns(pixels).tolist(),
    )


def fit_reference(embeddings: NDArray[np.float32], components: int = 64) -> TrustReference:
    """Fit by maximum likelihood (Tipping & Bishop, JRSS B 61, 1999, section 3.2) to training embeddings (N, D).

    At most N/4 leading axes are kept, because the spread along each is estimated from the same N images; the
    variance of the rest is their mean variance.  The axes are float16, half of their size in a bundle, where that
    changes no training image's distance by more than `_ROUNDING`; else float32.
    """
    count, width = embeddings.shape
    mean = embeddings.mean(axis=0)
    _, singular, axes = np.linalg.svd(embeddings - mean, full_matrices=False)
    kept = min(components, max(1, count // 4), width - 1)
    variances = np.square(singular, dtype=np.float64) / max(1, count - 1)
    deviation = np.sqrt(np.maximum(variances[:kept], 1e-12))
    residual = np.sqrt(max(float(variances[kept:].sum()) / (width - kept), 1e-12))
    single = TrustReference(
        mean.astype(np.float32),
        (axes[:kept].T / deviation).astype(np.float32),
        np.array([residual], dtype=np.float32),
    )
    with np.errstate(all="ignore"):  # a deviation far from 1 is beyond float16: 6e-8 to 65504
        half = replace(single, components=single.components.astype(np.float16))
        same = np.allclose(distances(embeddings, half), distances(embeddings, single), rtol=_ROUNDING, atol=0)
    return half if same else single
