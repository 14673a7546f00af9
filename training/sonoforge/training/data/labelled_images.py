"""Hold images with their classes, groups and masks, as one object that training stages pass on.

A structure is what an outline shows: a lesion or a ventricle.  An image may have several masks of one structure.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.decoding import read_image
from sonoforge.runtime.images.folders import is_outline, mask_of
from sonoforge.runtime.images.preprocessing import Preprocessing
from sonoforge.runtime.images.synthetic import cut_structures
from sonoforge.training.data.cache import ImageCache, open_cache
from sonoforge.training.data.datasets import UNNAMED, Dataset, Item, find_files, structure_of
from sonoforge.training.data.layouts import natural_order

Indices = NDArray[np.int64]
Decode = Callable[[int], NDArray[np.uint8]]

HALF = 128  # a pixel is inside from half of its area on: the nearest of 0 and 255
_WHOLE = 255 + 16  # largest sum of the shares of adjacent structures, rounding by the resizing included


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Images of one size with their classes."""

    pixels: NDArray[np.uint8]  # (N, S, S, C) uint8
    labels: Indices  # (N,) indices into `classes`
    classes: tuple[str, ...]
    # (N,) equal for images that are not independent (near-duplicates, one patient); None: unknown.
    groups: Indices | None = None
    # Returns these images at a larger side S, (N, S, S, C) uint8, decoded anew; None where their files are unknown.
    larger: Decode | None = None
    # Returns the masks of these images at side S, (N, S, S) uint8, covered share of 255; None where none are known.
    masks: Decode | None = None
    collections: Indices | None = None  # (N,) number of the collection of each image; None: all are of one

    @classmethod
    def of_set(cls, cache: ImageCache, indices: Indices, groups: Indices | None = None) -> LabelledImages:
        """Return some of a data set's images; ``groups`` (N,) covers all images, if known."""
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
        """SHA-256 of the pixels of each image."""
        return tuple(hashlib.sha256(image.tobytes()).hexdigest() for image in self.pixels)

    def subset(self, indices: Indices) -> LabelledImages:
        """Return the images at these indices, in this order."""

        def some(decode: Decode | None) -> Decode | None:
            return None if decode is None else lambda side: decode(side)[indices]

        return LabelledImages(
            self.pixels[indices],
            self.labels[indices],
            self.classes,
            None if self.groups is None else self.groups[indices],
            some(self.larger),
            some(self.masks),
            None if self.collections is None else self.collections[indices],
        )

    def of(self, label: int) -> LabelledImages:
        """Return the images of one class."""
        return self.subset(np.flatnonzero(self.labels == label))


# ---- masks


def read_masks(cache: ImageCache, indices: Indices, folder: Path | None = None) -> NDArray[np.uint8]:
    """Read the union of each image's masks: (M, S, S) uint8, covered share of 255; see `read_structures`."""
    masks = read_structures(cache, indices, folder)
    union = masks[:, 0]
    for others in masks.swapaxes(0, 1)[1:]:
        _add(union, others)
    return union


def read_structures(
    cache: ImageCache, indices: Indices, folder: Path | None = None, *, disjoint: bool = False
) -> NDArray[np.uint8]:
    """Read each image's masks in the geometry of the cached images: (M, K, S, S) uint8, covered share of 255.

    The K structures are in the data set's order.  For the image cache, the mask files are just another data set. A
    missing mask counts as empty if no image of its class in its collection has one.  ``disjoint`` ones may not overlap.
    """
    dataset = cache.dataset
    mask_items = tuple(Item(path, 0) for item in dataset.items for path in item.masks)
    if not mask_items:
        raise SonoforgeError(
            f"{dataset.root}: has no masks, such as NAME_mask.png beside NAME.png; add them, or train without masks"
        )
    # Whether an image needs a mask depends on its collection and its class.
    marked = {(dataset.source(i), i.label, structure_of(mask)) for i in dataset.items for mask in i.masks}
    masks = open_cache(
        Dataset(f"{dataset.name} masks", dataset.root, ("masks",), mask_items, dataset.collections), cache.size, folder
    )
    rows = {item.path: row for row, item in enumerate(masks.dataset.items)}
    structures = dataset.structures
    found = np.zeros((len(indices), len(structures), cache.size, cache.size), np.uint8)
    for own, index in zip(found, indices, strict=True):
        item, size = dataset.items[index], cache.sizes[index].tolist()
        there = {structure_of(path) for path in item.masks}
        for structure in structures:
            if structure not in there and (dataset.source(item), item.label, structure) in marked:
                name = "_mask" if structure == UNNAMED else f"_mask_{structure}"
                raise SonoforgeError(
                    f"{dataset.file(item.path)}: has no {Path(item.path).stem}{name}.png, as other images of class "
                    f"{dataset.classes[item.label]} do; add it, all black if it is empty"
                )
        for path in item.masks:
            if path in masks.unreadable:
                raise SonoforgeError(masks.unreadable[path])
            if (other := masks.sizes[rows[path]].tolist()) != size:
                raise SonoforgeError(
                    f"{dataset.file(path)}: has {other[0]}x{other[1]} pixels, but its image {dataset.file(item.path)} "
                    f"has {size[0]}x{size[1]}; draw the mask on that image"
                )
            level, box = masks.images[rows[path]].max(axis=2), cache.boxes[index].tolist()
            if box != [0, 0, *size]:
                level = Preprocessing(cache.size).resize(read_image(dataset.file(path)).crop(box)).max(axis=2)
            _refuse_faint(dataset.file(path), level)
            _add(own[structures.index(structure_of(path))], level)
        if disjoint:
            _refuse_overlap(dataset.file(item.path), structures, own)
    return found


def read_label_maps(folder: Path, structures: Sequence[str], side: int) -> NDArray[np.uint8]:
    """Read a folder of masks, whose images need not be there: (M, S, S, K) uint8, 0 or 255, one 255 at most in a pixel.

    Masks of one image, such as ``NAME_mask.png`` and ``NAME_mask_1.png``, are one map.  If no name is of this form,
    every picture is one.

    Args:
        folder: With its sub-folders; the maps are in the natural order of their names.
        structures: Names of the K structures, or none for a single one without a name.
        side: S in pixels, to which the masks are resized as images are.

    Raises:
        SonoforgeError: There are none, one is not black and white or shows another structure, or the masks of one image
            overlap, differ in size, or lack a structure.
    """
    if not folder.is_dir():
        raise SonoforgeError(f"{folder}: is no folder; give one with masks, such as NAME_mask.png")
    names, own = tuple(structures) or (UNNAMED,), defaultdict[str, list[PurePath]](list)
    files = sorted(find_files(folder)[0], key=lambda file: natural_order(file.as_posix()))
    marked = [file for file in files if mask_of(file.stem)]
    for file in marked or files:
        named = mask_of(file.stem)
        own[(file.parent / (named[0] if named else file.name)).as_posix()].append(file)
        if not named and not is_outline(folder / file):
            raise SonoforgeError(f"{folder / file}: is no mask, which is black and white; leave it out")
    maps = []
    for image, masks in own.items():
        levels, sizes, shown = np.zeros((len(names), side, side), np.uint8), set(), set()
        for file in masks:
            found = structure_of(file.name)
            if found == UNNAMED and len(names) == 1:
                found = names[0]
            if found not in names:
                raise SonoforgeError(f"{folder / file}: shows {found}, not {' or '.join(names)}; rename or remove it")
            picture = read_image(folder / file)
            sizes.add(picture.size)
            shown.add(found)
            level = Preprocessing(side).resize(picture).max(axis=2)
            _refuse_faint(folder / file, level)
            _add(levels[names.index(found)], level)
        if lacking := [name for name in names if name not in shown]:
            raise SonoforgeError(f"{folder / image}: has no mask of {lacking[0]}; add it, all black if it is empty")
        if len(sizes) > 1:
            raise SonoforgeError(f"{folder / image}: its masks differ in size; draw them on one image")
        _refuse_overlap(folder / image, names, levels)
        maps.append(cut_structures(levels.transpose(1, 2, 0)))
    if not maps:
        raise SonoforgeError(f"{folder}: contains no masks, such as NAME_mask.png; give another folder")
    return np.stack(maps)


def _refuse_overlap(image: Path, structures: Sequence[str], masks: NDArray[np.uint8]) -> None:
    """Refuse overlapping structures, masks (K, S, S) of one image: a label map gives each pixel one label."""
    overlaps = masks.sum(0, dtype=np.int64) > _WHOLE
    if overlaps.any():
        first, second = np.sort(np.argsort(masks[:, overlaps][:, 0])[-2:])
        both = f"{structures[first]} and {structures[second]}"
        raise SonoforgeError(f"{image}: masks of {both} overlap; cut one out of the other")


def _refuse_faint(file: Path, level: NDArray[np.uint8]) -> None:
    """Refuse a mask of 0 and 1, or of class numbers, which would pass for an empty one, by its resized level.

    A small structure may be grey once it is resized, so the file itself decides.
    """
    if 0 < int(level.max()) < HALF and (brightest := int(np.asarray(read_image(file)).max())) < HALF:
        raise SonoforgeError(f"{file}: its brightest level is {brightest}, not 255; save it in black and white")


def _add(union: NDArray[np.uint8], mask: NDArray[np.uint8]) -> None:
    """Add a mask in place, exactly if they do not overlap; the maximum would lose pixels that they share."""
    np.add(union, np.minimum(mask, 255 - union), out=union)
