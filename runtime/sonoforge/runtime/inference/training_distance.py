"""How far an image lies from the training images: from all of them, and from those most like it.

The Mahalanobis distance from all detects other kinds of images.  Sources: Lee et al., A simple unified framework for
detecting out-of-distribution samples, NeurIPS 2018, with one Gaussian for all classes, since the question is "an image
of this kind?" and not "which class?"; Tipping & Bishop, Probabilistic principal component analysis, JRSS B 61 (1999),
for its covariance.  Distance outside the leading axes counts as well: there noise, black frames and other organs
differ, hardly along the axes.

The distance from the nearest detects scans that lie between the training images, and grows where the network errs.
Directions are compared, not lengths, which the network's last layer hardly uses.  The reference holds at most `AXES`
numbers of each training image in half precision: the direction of its embedding on the leading axes of all.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.bundle.classification import ClassifierManifest
from sonoforge.runtime.bundle.manifest import ArrayKind
from sonoforge.runtime.bundle.reader import Bundle, BundleError

NEIGHBOURS = 10
"""Nearest training images that the distance is averaged over; 1 and 5 ranked errors worse (sealed folds of BUSI)."""
AXES = 32
"""Axes kept of the embedding; 8, 16 and 64 ranked errors equally well, within 0.02 of AUROC."""


@dataclass(frozen=True, eq=False)
class TrustReference:
    """The Gaussian of the training images' embeddings."""

    mean: NDArray[np.float32]  # (D,)
    # (D, K) leading principal axes, each divided by its standard deviation; K < D.  float16 in a file, or float32 where
    # that overflows; float32 to compute with.
    components: NDArray[np.floating[Any]]
    residual: NDArray[np.float32]  # (1,) standard deviation along each of the other D - K axes; above 0

    @cached_property
    def variances(self) -> NDArray[np.float64]:
        """Variance along each axis, (K,): a component is u_k / sqrt(v_k)."""
        return np.asarray(1.0 / np.square(self.components, dtype=np.float64).sum(axis=0))


@dataclass(frozen=True, eq=False)
class NeighbourReference:
    """The training images as points."""

    mean: NDArray[np.float32]  # (D,) float32, mean direction of the training embeddings
    axes: NDArray[np.floating[Any]]  # (D, A) leading principal axes, orthonormal; float16 in a file, float32 in use
    points: NDArray[np.floating[Any]]  # (N, A) training images on these axes; float16 in a file, float64 in use

    @cached_property
    def squared_lengths(self) -> NDArray[np.float64]:
        """Squared length of each point, (N,)."""
        return np.asarray(np.square(self.points, dtype=np.float64).sum(axis=1))


def read_references(bundle: Bundle[ClassifierManifest]) -> tuple[TrustReference, NeighbourReference]:
    """Read both references of a classifier's bundle, ready to compute with.

    Raises:
        BundleError: The arrays are missing, of another shape, or hold a deviation of 0.
    """
    (size,) = bundle.manifest.outputs["embedding"]
    arrays = bundle.arrays(
        "reference.npz",
        {
            "trust_mean": ArrayKind(np.float32, (size,)),
            "trust_components": ArrayKind((np.float16, np.float32), (size, None)),
            "trust_residual": ArrayKind(np.float32, (1,)),
            "neighbour_mean": ArrayKind(np.float32, (size,)),
            "neighbour_axes": ArrayKind(np.float16, (size, None)),
            "neighbour_points": ArrayKind(np.float16, (None, None)),
        },
    )
    components, residual = arrays["trust_components"].astype(np.float32, copy=False), arrays["trust_residual"]
    axes, points = arrays["neighbour_axes"], arrays["neighbour_points"]
    if not residual[0] > 0 or not np.any(components, axis=0).all():
        raise BundleError(f"{bundle.path}: reference.npz: a deviation is zero; all must be above 0")
    if points.shape[1] != axes.shape[1]:
        raise BundleError(
            f"{bundle.path}: reference.npz: points have {points.shape[1]} numbers for {axes.shape[1]} axes"
        )
    return (
        TrustReference(arrays["trust_mean"], components, residual),
        NeighbourReference(arrays["neighbour_mean"], axes.astype(np.float32), points.astype(np.float64)),
    )


def mahalanobis_distances(embeddings: NDArray[np.float32], reference: TrustReference) -> NDArray[np.float64]:
    """Return the Mahalanobis distance (N,) of embeddings (N, D) under the reference's probabilistic-PCA covariance.

    With axes u_k of variance v_k and the rest of variance s^2:
    ``d^2 = sum_k (u_k . x)^2 / v_k + (|x|^2 - sum_k (u_k . x)^2) / s^2``, x the embedding less the mean.
    """
    centred = embeddings - reference.mean
    whitened = (centred @ reference.components.astype(np.float32, copy=False)).astype(np.float64)
    inside = np.square(whitened)
    outside = np.square(centred, dtype=np.float64).sum(axis=1) - (inside * reference.variances).sum(axis=1)
    squared = inside.sum(axis=1) + np.maximum(outside, 0.0) / float(reference.residual[0]) ** 2
    return np.asarray(np.sqrt(squared))


def directions(embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
    """Divide each embedding (N, D) by its length, unless that is 0."""
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    return np.asarray((embeddings / np.where(lengths > 0, lengths, 1)).astype(np.float32))


def neighbour_distances(embeddings: NDArray[np.float32], reference: NeighbourReference) -> NDArray[np.float64]:
    """Return the mean Euclidean distance (N,) of embeddings (N, D) from the `NEIGHBOURS` nearest points.

    The distances are between the points and ``z = (e / |e| - mean) . axes``.
    """
    axes = reference.axes.astype(np.float32, copy=False)
    placed = ((directions(embeddings) - reference.mean) @ axes).astype(np.float64)
    points = reference.points.astype(np.float64, copy=False)
    squared = np.square(placed).sum(axis=1)[:, None] + reference.squared_lengths - 2 * placed @ points.T
    count = min(NEIGHBOURS, len(points))
    nearest = np.partition(np.maximum(squared, 0), count - 1, axis=1)[:, :count]
    return np.asarray(np.sqrt(nearest).mean(axis=1))
