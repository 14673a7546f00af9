"""Images with their classes and groups, as one object that training stages hand on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sonoforge.training.data.cache import ImageCache
from sonoforge.training.data.masks import read_masks

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

    @classmethod
    def of_set(cls, cache: ImageCache, indices: Indices, groups: Indices | None = None) -> LabelledImages:
        """Return some of a data set's images; ``groups`` (N,) are those of all images, if they are known."""
        names, sources = list(cache.dataset.collections), cache.dataset.sources
        images = cls(
            cache.images[indices],
            cache.dataset.labels[indices],
            cache.dataset.classes,
            None if groups is None else groups[indices],
            collections=np.array([names.index(sources[i]) for i in indices]) if sources else None,
        )
        if cache.store is None:
            return images
        folder = cache.store.parent

        def masks(side: int) -> NDArray[np.uint8]:
            return read_masks(cache if side == cache.size else cache.at(side), indices, folder)

        return replace(images, larger=lambda side: cache.at(side).images[indices], masks=masks)

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
