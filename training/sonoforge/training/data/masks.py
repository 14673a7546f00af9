"""The masks of a data set's images, decoded once and cached as the images are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.decoding import read_image
from sonoforge.runtime.images.preprocessing import Preprocessing
from sonoforge.training.data.cache import ImageCache, open_cache
from sonoforge.training.data.datasets import Dataset, Item

HALF = 128  # a pixel is inside from half of its area on: the nearest of 0 and 255


def read_masks(cache: ImageCache, indices: NDArray[np.int64], folder: Path | None = None) -> NDArray[np.uint8]:
    """Read the union of each image's masks in the geometry of the cached images: (M, S, S) uint8, covered share of 255.

    To the image cache the mask files are just another data set, so they are decoded, resized and cached by the same
    code; masks of images that were cropped are cropped to the same box.  An image without a mask file has an empty mask
    if no image of its class in its collection has one.

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
    marked = {_kind(dataset, item) for item in dataset.items if item.masks}
    masks = open_cache(
        Dataset(f"{dataset.name} masks", dataset.root, ("masks",), mask_items, dataset.collections), cache.size, folder
    )
    rows = {item.path: row for row, item in enumerate(masks.dataset.items)}
    unions = np.zeros((len(indices), cache.size, cache.size), np.uint8)
    for union, index in zip(unions, indices, strict=True):
        item = dataset.items[index]
        if not item.masks and _kind(dataset, item) in marked:
            raise SonoforgeError(
                f"{dataset.file(item.path)}: found no mask, expected {Path(item.path).stem}_mask.png beside it as "
                f"other images of class {dataset.classes[item.label]} have; add it, black if it is empty"
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
            # The sum is exact for masks that do not overlap; the maximum would lose pixels that they cover together.
            np.add(union, np.minimum(level, 255 - union), out=union)
    return unions


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
    """A mask of 0 and 1, or of class numbers, would pass for an empty one."""
    brightest = int(level.max())
    if 0 < brightest < HALF:
        raise SonoforgeError(
            f"{path}: found {brightest} as the brightest level at {len(level)}x{len(level)} pixels, expected 255 "
            "inside and 0 outside; save the mask as black and white"
        )
