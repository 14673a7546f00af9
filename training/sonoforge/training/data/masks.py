"""The masks of a data set's images, decoded once and cached as the images are.

A structure is what an outline is of: a lesion, a ventricle.  An image has one mask for each structure, or several.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.decoding import read_image
from sonoforge.runtime.images.preprocessing import Preprocessing
from sonoforge.training.data.cache import ImageCache, open_cache
from sonoforge.training.data.datasets import UNNAMED, Dataset, Item, structure_of

_WHOLE = 255 + 16  # what the shares of structures side by side add up to at most, roundings of the resizing included
HALF = 128  # a pixel is inside from half of its area on: the nearest of 0 and 255


def read_masks(cache: ImageCache, indices: NDArray[np.int64], folder: Path | None = None) -> NDArray[np.uint8]:
    """Read the union of each image's masks: (M, S, S) uint8, covered share of 255; see `read_structures`."""
    masks = read_structures(cache, indices, folder)
    union = masks[:, 0]
    for others in masks.swapaxes(0, 1)[1:]:
        _add(union, others)
    return union


def read_structures(cache: ImageCache, indices: NDArray[np.int64], folder: Path | None = None) -> NDArray[np.uint8]:
    """Read each image's masks in the geometry of the cached images.

    To the image cache the mask files are just another data set, so they are decoded, resized and cached by the same
    code; masks of images that were cropped are cropped to the same box.  An image without a mask of a structure has an
    empty one if no image of its class in its collection has one.

    Returns:
        (M, K, S, S) uint8, in the order of the data set's ``structures``: the share of each pixel, of 255, that a
        structure covers.

    Raises:
        SonoforgeError: The data set has no masks at all; one is missing, cannot be read, has another size than its
            image, or is not black and white.
    """
    dataset = cache.dataset
    mask_items = tuple(Item(path, 0) for item in dataset.items for path in item.masks)
    if not mask_items:
        raise SonoforgeError(
            f"{dataset.root}: found no masks, expected NAME_mask.png beside NAME.png; add them or train without masks"
        )
    marked = {(*_kind(dataset, item), structure_of(mask)) for item in dataset.items for mask in item.masks}
    masks = open_cache(
        Dataset(f"{dataset.name} masks", dataset.root, ("masks",), mask_items, dataset.collections), cache.size, folder
    )
    rows = {item.path: row for row, item in enumerate(masks.dataset.items)}
    structures = dataset.structures
    found = np.zeros((len(indices), len(structures), cache.size, cache.size), np.uint8)
    for own, index in zip(found, indices, strict=True):
        item = dataset.items[index]
        there = {structure_of(path) for path in item.masks}
        for structure in structures:
            if structure not in there and (*_kind(dataset, item), structure) in marked:
                name = "_mask" if structure == UNNAMED else f"_mask_{structure}"
                raise SonoforgeError(
                    f"{dataset.file(item.path)}: found no {name[1:]}, expected {Path(item.path).stem}{name}.png beside "
                    f"it as other images of class {dataset.classes[item.label]} have; add it, black if it is empty"
                )
        for path in item.masks:
            if path in masks.unreadable:
                raise SonoforgeError(masks.unreadable[path])
            _check_size(dataset, item, path, cache.sizes[index], masks.sizes[rows[path]])
            level = masks.images[rows[path]].max(axis=2)
            if tuple(cache.boxes[index]) != (0, 0, *cache.sizes[index]):
                left, top, right, bottom = cache.boxes[index].tolist()
                cut = read_image(dataset.file(path)).crop((left, top, right, bottom))
                level = Preprocessing(cache.size).resize(cut).max(axis=2)
            _check_levels(dataset.file(path), level)
            _add(own[structures.index(structure_of(path))], level)
    return found


def check_disjoint(dataset: Dataset, indices: NDArray[np.int64], masks: NDArray[np.uint8]) -> None:
    """Refuse structures that overlap: in a label map each pixel is of one.

    The masks (M, K, S, S) uint8 are those that `read_structures` returned for these indices (M,).

    Raises:
        SonoforgeError: Two structures of an image share a pixel.
    """
    structures = dataset.structures
    for own, index in zip(masks, indices, strict=True):
        overlaps = own.sum(0, dtype=np.int64) > _WHOLE
        if not overlaps.any():
            continue
        first, second = np.sort(np.argsort(own[:, overlaps][:, 0])[-2:])
        raise SonoforgeError(
            f"{dataset.file(dataset.items[index].path)}: masks of {structures[first]} and {structures[second]} "
            "overlap, expected each pixel in one structure at most; cut one out of the other"
        )


def _add(union: NDArray[np.uint8], mask: NDArray[np.uint8]) -> None:
    """Add a mask in place: exact if they do not overlap; the maximum would lose pixels that they cover together."""
    np.add(union, np.minimum(mask, 255 - union), out=union)


def _kind(dataset: Dataset, item: Item) -> tuple[str, int]:
    """Return what images are alike in whether they have masks: their collection and their class."""
    return dataset.source(item), item.label


def _check_size(dataset: Dataset, item: Item, mask: str, size: NDArray[np.int64], mask_size: NDArray[np.int64]) -> None:
    if tuple(mask_size) != tuple(size):
        raise SonoforgeError(
            f"{dataset.file(mask)}: found {mask_size[0]}x{mask_size[1]} pixels, expected {size[0]}x{size[1]} as "
            f"its image {dataset.file(item.path)}; draw the mask on that image"
        )


def _check_levels(path: Path, level: NDArray[np.uint8]) -> None:
    """A mask of 0 and 1, or of class numbers, would pass for an empty one.

    A small structure may be grey once it is resized, so that the file itself decides.
    """
    if not 0 < int(level.max()) < HALF:
        return
    brightest = int(np.asarray(read_image(path)).max())
    if brightest < HALF:
        raise SonoforgeError(
            f"{path}: found {brightest} as the brightest level, expected 255 inside and 0 outside; save the mask as "
            "black and white"
        )
