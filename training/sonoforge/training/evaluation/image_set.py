"""One set of an evaluation's images: as stored, and at the common size."""

from __future__ import annotations

import functools
import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.images.plain_image import grey_levels
from sonoforge.runtime.images.synthetic import as_picture
from sonoforge.training.copies.near_duplicates import find_near_duplicates, join_scans
from sonoforge.training.copies.pictures import Picture, fit
from sonoforge.training.data.cache import content_hash
from sonoforge.training.data.pixels import Pixels, prepare_images
from sonoforge.training.data.selection import evenly_spaced
from sonoforge.training.evaluation.spaces import SAMPLED

log = logging.getLogger(__name__)


class Described(NamedTuple):
    """One image at its own size."""

    name: str  # of the file, or a number
    content: str  # hash of its content, see `fingerprints.content_hash`
    picture: Picture  # grey (H, W) uint8, see `copies.pictures`
    size: tuple[int, int]  # width and height, pixels
    group: str | None  # its group in `groups.csv`, if any


class StoredSet(NamedTuple):
    """A set before its size and channels are chosen."""

    images: Sequence[Pixels]  # (H, W, C) uint8 each, C = 1 or 3; real ones at the size of the image cache
    described: Sequence[Described]
    class_name: str = ""  # what they show; empty if unknown
    declared: bool | None = None  # whether the set declares itself generated; None: undeclared
    generated: Sequence[str] = ()  # names of the images that declare themselves generated
    store: Path | None = None  # folder that caches which images are near-duplicates


@dataclass(frozen=True, eq=False)
class ImageSet:
    """A set at the common size, with the common number of channels."""

    source: str  # as the user named it
    pixels: Pixels  # (N, S, S, C) uint8, C = 1 or 3
    described: tuple[Described, ...]  # the same images at their own size
    class_name: str
    synthetic: bool | None
    resize: str  # how the images came to their size, in words
    originals: tuple[Pixels, ...] = ()  # some of them as stored, (H, W, C) uint8 each
    store: Path | None = None  # as in `StoredSet`
    class_counts: Mapping[str, int] = field(default_factory=dict)  # images of each class, if there are several
    scans_known: bool = False  # whether the given groups hold all near-duplicates, so that none are searched for

    def __len__(self) -> int:
        """Return the number N of images."""
        return len(self.pixels)

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each image."""
        return tuple(image.name for image in self.described)

    @functools.cached_property
    def groups(self) -> NDArray[np.int64]:
        """(N,) group of each image; joined are near-duplicates, equal contents and given groups."""
        contents = [image.content for image in self.described]
        looked_at = [] if self.scans_known else [image.picture for image in self.described]
        found = find_near_duplicates(looked_at, contents if looked_at else (), self.store)
        return join_scans(found, [image.group for image in self.described], contents)

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the pixels in their order: sets of equal fingerprints give equal figures."""
        digest = hashlib.sha256(repr(self.pixels.shape).encode())
        digest.update(np.ascontiguousarray(self.pixels).data)
        return digest.hexdigest()

    def take(self, indices: NDArray[np.intp]) -> ImageSet:
        """Return the images at these indices."""
        return replace(
            self, pixels=self.pixels[indices], described=tuple(self.described[index] for index in indices.tolist())
        )


class HeldOut(NamedTuple):
    """Real images that a generator never saw, without near-duplicates of its training images."""

    images: ImageSet
    groups: NDArray[np.int64]  # (N,) group of each
    trained: NDArray[np.int64]  # (M,) group of each training image, in the same numbering


def joined_sets(first: ImageSet, second: ImageSet) -> ImageSet:
    """Concatenate two sets of one size; name and protocol are those of the first."""
    pixels = np.concatenate([first.pixels, second.pixels])
    known = first.scans_known and second.scans_known
    return replace(first, pixels=pixels, described=first.described + second.described, scans_known=known)


def describe(name: str, pixels: Pixels, group: str | None) -> Described:
    """Describe an image (H, W, C) uint8, C = 1 or 3, as the image cache does."""
    image = as_picture(pixels)
    return Described(name, content_hash(image), fit(grey_levels(image)), image.size, group)


def store_arrays(
    images: Sequence[Pixels],
    names: Sequence[str],
    class_name: str,
    *,
    declared: bool | None,
    groups: Sequence[str | None] = (),
) -> StoredSet:
    """Return images in memory, (H, W, C) uint8 each, as a set; see `StoredSet` for the fields."""
    each = zip(names, images, groups or [None] * len(images), strict=True)
    return StoredSet(images, [describe(*one) for one in each], class_name, declared)


def resized(source: str, stored: StoredSet, size: int, channels: int, resize: str) -> ImageSet:
    """Resize a set to (N, size, size, channels); ``resize`` describes how, in words."""
    by_shape: dict[tuple[int, ...], list[int]] = {}
    for index, image in enumerate(stored.images):
        by_shape.setdefault(image.shape, []).append(index)
    pixels = np.empty((len(stored.images), size, size, channels), np.uint8)
    for indices in by_shape.values():
        pixels[indices] = prepare_images(np.stack([stored.images[index] for index in indices]), size, channels)
    originals = tuple(stored.images[index] for index in evenly_spaced(len(stored.images), SAMPLED))
    synthetic = True if stored.generated else stored.declared
    return ImageSet(
        source, pixels, tuple(stored.described), stored.class_name, synthetic, resize, originals, stored.store
    )
