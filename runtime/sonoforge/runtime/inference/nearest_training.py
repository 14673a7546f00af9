"""How far an image lies from the training images most like it: a distance that grows where the network errs.

The Mahalanobis distance of `trust` tells other kinds of images; this one tells scans that lie between the training
images.  Directions are compared, not lengths: the network's last layer hardly looks at the length.

The reference holds at most `AXES` numbers of each training image in half precision: where the direction of its
embedding lies on the leading axes of all.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.bundle.classification import ClassifierManifest
from sonoforge.runtime.bundle.manifest import ArrayKind
from sonoforge.runtime.bundle.reader import Bundle, BundleError

NEIGHBOURS = 10
"""Training images that the distance is averaged over, or all of fewer; 1 and 5 ranked errors worse on sealed folds of
BUSI."""
AXES = 32
"""Kept of the embedding; 8, 16 and 64 ranked errors as well within 0.02 of AUROC."""


@dataclass(frozen=True, eq=False)
class NeighbourReference:
    """Training images as points."""

    mean: NDArray[np.float32]  # (D,) float32, mean of the training embeddings' directions
    # (D, A), their leading principal axes, orthonormal; float16 in a file, float32 to compute with.
    axes: NDArray[np.floating[Any]]
    # (N, A), the training images on these axes; float16 in a file, float64 to compute with.
    points: NDArray[np.floating[Any]]

    @cached_property
    def squared_lengths(self) -> NDArray[np.float64]:
        """Of the points, (N,)."""
        found: NDArray[np.float64] = np.square(self.points, dtype=np.float64).sum(axis=1)
        return found


ARRAYS = tuple(f"neighbour_{field.name}" for field in fields(NeighbourReference))
"""Names of the reference's arrays in ``reference.npz``."""


def read_neighbours(bundle: Bundle[ClassifierManifest]) -> NeighbourReference:
    """Read the reference from a bundle, ready to compute with."""
    (size,) = bundle.manifest.outputs["embedding"]
    kinds = (
        ArrayKind(np.float32, (size,)),
        ArrayKind(np.float16, (size, None)),
        ArrayKind(np.float16, (None, None)),
    )
    arrays = bundle.arrays("reference.npz", dict(zip(ARRAYS, kinds, strict=True)))
    reference = NeighbourReference(*(arrays[name] for name in ARRAYS))
    width, expected = reference.points.shape[1], reference.axes.shape[1]
    if width != expected:
        raise BundleError(f"{bundle.path}: reference.npz: found points of {width} numbers, expected {expected}")
    return replace(reference, axes=reference.axes.astype(np.float32), points=reference.points.astype(np.float64))


def directions(embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
    """Divide each embedding (N, D) by its length; one of length 0 stays."""
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    divided: NDArray[np.float32] = (embeddings / np.where(lengths > 0, lengths, 1)).astype(np.float32)
    return divided


def neighbour_distances(embeddings: NDArray[np.float32], reference: NeighbourReference) -> NDArray[np.float64]:
    """Mean Euclidean distance (N,) of embeddings (N, D) from the `NEIGHBOURS` nearest points, or all of fewer.

    ``z = (e / |e| - mean) . axes``; the distances are those of z from the points.
    """
    placed = ((directions(embeddings) - reference.mean) @ reference.axes.astype(np.float32, copy=False)).astype(
        np.float64
    )
    points = reference.points.astype(np.float64, copy=False)
    squared = np.square(placed).sum(axis=1)[:, None] + reference.squared_lengths - 2 * placed @ points.T
    count = min(NEIGHBOURS, len(points))
    nearest = np.partition(np.maximum(squared, 0), count - 1, axis=1)[:, :count]
    found: NDArray[np.float64] = np.sqrt(nearest).mean(axis=1)
    return found
