"""Images with their classes and groups, as one object that training stages hand on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Images of one size with their classes."""

    pixels: NDArray[np.uint8]  # (N, S, S, C) uint8
    labels: Indices  # (N,) indices into `classes`
    classes: tuple[str, ...]
    # (N,) equal for images that are not independent (near-duplicates, one patient); None: unknown.
    groups: Indices | None = None
    # Returns these images at a larger side S, (N, S, S, C) uint8, decoded anew; None where their files are unknown.
    larger: Callable[[int], NDArray[np.uint8]] | None = None
    # Returns the masks of these images at side S, (N, S, S) uint8, covered share of 255; None where none are known.
    masks: Callable[[int], NDArray[np.uint8]] | None = None
    collections: Indices | None = None  # (N,) number of the collection of each image; None: all are of one

    def __len__(self) -> int:
        """Return the number N of images."""
        return len(self.labels)

    @property
    def counts(self) -> Indices:
        """(C,) number of images of each class."""
        return np.bincount(self.labels, minlength=len(self.classes))

    @property
    def hashes(self) -> tuple[str, ...]:
        """Sha256 of the pixels of each image."""
        return tuple(hashlib.sha256(image.tobytes()).hexdigest() for image in self.pixels)

    def subset(self, indices: Indices) -> LabelledImages:
        """Return the images at these indices, in this order."""
        return LabelledImages(
            self.pixels[indices],
            self.labels[indices],
            self.classes,
            None if self.groups is None else self.groups[indices],
            _subset(self.larger, indices),
            _subset(self.masks, indices),
            None if self.collections is None else self.collections[indices],
        )

    def of(self, label: int) -> LabelledImages:
        """Return the images of one class."""
        return self.subset(np.flatnonzero(self.labels == label))


def _subset(
    read: Callable[[int], NDArray[np.uint8]] | None, indices: Indices
) -> Callable[[int], NDArray[np.uint8]] | None:
    return None if read is None else lambda side: read(side)[indices]
