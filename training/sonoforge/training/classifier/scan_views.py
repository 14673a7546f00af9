"""Make the views of an image that a network learns from: the whole scan, or a crop with or without its lesion.

Healthy scans come from few collections, so a network would learn to recognise those instead.  But every scan with a
lesion also shows healthy tissue of the same scanner: a crop beside the lesion is a healthy example, and a crop around
it, of similar size, its counterpart.  Whole scans of a collection without healthy ones must then not teach whether
there is a lesion, or "whole picture" would mean "lesion".
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.plain_image import grey_levels
from sonoforge.training.classifier import augmentation, fine_tuning, losses, network
from sonoforge.training.classifier.settings import LARGE, ClassifierSettings
from sonoforge.training.data.cache import ImageCache
from sonoforge.training.data.labelled_images import HALF, LabelledImages

Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels
SIDES = (0.35, 0.8)  # smallest and largest side of a crop, as shares of the picture's
ENOUGH = 10  # healthy scans that a collection needs for its whole scans to teach whether there is a lesion
_MARGIN = 0.025  # of the picture, between a lesion and a crop without it
_TRIES = 20
_BLACK = 12  # mean grey level below which a crop shows nothing


def lesion_box(mask: NDArray[np.uint8]) -> Box | None:
    """Return the smallest box around the lesion of a mask (H, W); None if it is empty."""
    rows, columns = np.flatnonzero((mask >= HALF).any(axis=1)), np.flatnonzero((mask >= HALF).any(axis=0))
    if not len(rows):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def crop_without(levels: NDArray[np.uint8], lesion: Box, rng: np.random.Generator) -> Box | None:
    """Draw a crop of a picture (H, W) beside its lesion; None if none was found, for example beside a large one."""
    height, width = levels.shape
    left, top, right, bottom = lesion
    for _ in range(_TRIES):
        x, y, x_end, y_end = any_crop((height, width), rng)
        across, down = _MARGIN * width, _MARGIN * height
        beside = x_end <= left - across or x >= right + across or y_end <= top - down or y >= bottom + down
        if beside and levels[y:y_end, x:x_end].mean() > _BLACK:
            return x, y, x_end, y_end
    return None


def crop_around(size: tuple[int, int], lesion: Box, rng: np.random.Generator) -> Box:
    """Draw a crop of a picture (height, width) that contains its whole lesion."""
    spans = []
    for side, start, end in ((size[1], lesion[0], lesion[2]), (size[0], lesion[1], lesion[3])):
        least = max(round(SIDES[0] * side), end - start)
        length = int(rng.integers(least, max(least, round(SIDES[1] * side)) + 1))
        first = int(rng.integers(max(0, end - length), min(start, side - length) + 1))
        spans.append((first, first + length))
    (left, right), (top, bottom) = spans
    return left, top, right, bottom


def any_crop(size: tuple[int, int], rng: np.random.Generator) -> Box:
    """Draw a crop of a picture (height, width) as if it had no lesion."""
    return crop_around(size, (size[1], size[0], 0, 0), rng)  # an empty box, which every crop contains


def find_healthy(classes: Sequence[str]) -> int:
    """Return the index of the class without a lesion; raise SonoforgeError without it and two others."""
    names = [name.casefold() for name in classes]
    if losses.HEALTHY not in names or len(names) < 3:
        raise SonoforgeError(
            f"heads: hierarchical requires {losses.HEALTHY} and at least two kinds of lesion, but the classes are "
            f"{', '.join(classes)}; give --budget quick"
        )
    return names.index(losses.HEALTHY)


def check_learnable(cache: ImageCache, settings: ClassifierSettings) -> None:
    """Refuse images without the classes, or the masks, that these settings learn from."""
    if settings.heads == "hierarchical":
        find_healthy(cache.dataset.classes)
        _read_masks(LabelledImages.of_set(cache, np.arange(len(cache.images))), settings, cache.size)


def balanced_frequencies(labels: fine_tuning.Indices, collections: fine_tuning.Indices) -> NDArray[np.float64]:
    """Return how often to show each image (N,), 1 on average, if all collections are shown equally often.

    This follows Gulrajani & Lopez-Paz, In search of lost domain generalization (ICLR 2021). Within a collection, an
    image counts by the inverse square root of the size of its class.
    """
    _, kinds = np.unique(np.stack([collections, labels]), axis=1, return_inverse=True)
    within: NDArray[np.float64] = 1 / np.sqrt(np.bincount(kinds.ravel()))[kinds.ravel()]
    _, own = np.unique(collections, return_inverse=True)
    shares: NDArray[np.float64] = within / np.bincount(own, weights=within)[own]
    return np.asarray(shares / shares.mean())


class _View(NamedTuple):
    """One view of an image, and what it teaches."""

    pixels: augmentation.Pixels  # (S, S, 3)
    label: int  # of the view
    teaches_lesion: bool  # whether it may teach the first step, see `losses`
    is_crop: bool
    mask: augmentation.Pixels | None  # (S, S) its lesion, if outlines are learned
    mask_known: bool  # whether every lesion in view is in the mask


def scan_inputs(
    images: LabelledImages, settings: ClassifierSettings, frozen: nn.Module, device: torch.device
) -> fine_tuning.TrainingInputs:
    """Serve whole images and crops, augmented afresh each time, with what each view shows and teaches.

    The frozen blocks, in evaluation mode, run on each view.
    """
    healthy = find_healthy(images.classes)
    large = images.pixels
    side = settings.look or large.shape[1]
    whole = np.stack([cut(pixels, None, side) for pixels in large]) if settings.look else large
    if settings.lesion_crops and images.larger is not None and large.shape[1] < LARGE:
        large = images.larger(LARGE)
    masks = _read_masks(images, settings, large.shape[1])
    boxes = [None] * len(images) if masks is None else [lesion_box(mask) for mask in masks]
    collections = collections_of(images)
    counts = np.bincount(collections[images.labels == healthy], minlength=int(collections.max()) + 1)
    whole_teach = counts[collections] >= ENOUGH  # (N,) whether the image's collection has enough healthy scans
    known = images.labels[whole_teach] == healthy
    share = float(known.mean()) if 0 < known.sum() < len(known) else 0.5

    def view(i: int, rng: np.random.Generator, taught: bool) -> _View:
        label, lesion, box = int(images.labels[i]), boxes[i], None
        size = large.shape[1], large.shape[1]
        if settings.lesion_crops and rng.random() < settings.lesion_crops:
            if label == healthy:
                box = any_crop(size, rng)
            elif lesion is not None:
                if rng.random() < 0.5:
                    box = crop_without(grey_levels(Image.fromarray(large[i])), lesion, rng)
                    label = healthy if box else label
                else:
                    box = crop_around(size, lesion, rng)
        change = augmentation.draw_change(settings.augmentation, side, rng, taught=taught)
        mask = None
        if masks is not None and settings.outlines:
            mask = change.place_mask(cut(masks[i], box, side))
        shown = cut(large[i], box, side) if box else whole[i]
        known = lesion is not None or images.labels[i] == healthy
        return _View(change.apply(shown), label, bool(box) or bool(whole_teach[i]), bool(box), mask, bool(known))

    def batch(indices: fine_tuning.Indices, rng: np.random.Generator, taught: bool = False) -> fine_tuning.Batch:
        views = [view(int(i), rng, taught) for i in indices]
        with torch.no_grad(), network.bfloat16(frozen, device, enabled=settings.precision == "bf16"):
            inputs = frozen(network.to_tensor(np.stack([view.pixels for view in views]), device))
        outlines = None
        if settings.outlines:
            masks = torch.from_numpy(np.stack([view.mask for view in views if view.mask is not None]))
            known = torch.tensor([float(view.mask_known) for view in views])
            outlines = losses.Outlines(masks.to(device).float() / 255, known.to(device))
        return fine_tuning.Batch(
            inputs,
            np.array([view.label for view in views], np.int64),
            np.array([view.teaches_lesion for view in views]),
            np.array([view.is_crop for view in views]),
            outlines=outlines,
        )

    taught = functools.partial(batch, taught=True)
    return fine_tuning.TrainingInputs(batch, images.labels, taught, healthy=healthy, healthy_share=share)


def together(images: LabelledImages, added: LabelledImages) -> LabelledImages:
    """Join real and added images into one set; the added ones count as a separate collection."""

    def masks(side: int) -> NDArray[np.uint8]:
        own = np.zeros((0, side, side), np.uint8) if images.masks is None else images.masks(side)
        none = np.zeros((len(added), side, side), np.uint8)
        return np.concatenate([own, none if added.masks is None else added.masks(side)])

    def larger(side: int) -> NDArray[np.uint8]:
        own = images.pixels[:0] if images.larger is None else images.larger(side)
        return np.concatenate([own, *(cut(pixels, None, side)[None] for pixels in added.pixels)])

    return LabelledImages(
        np.concatenate([images.pixels, added.pixels]),
        np.concatenate([images.labels, added.labels]),
        images.classes,
        larger=None if images.larger is None else larger,
        masks=None if images.masks is None else masks,
        collections=collections_of(images, added),
    )


def _read_masks(images: LabelledImages, settings: ClassifierSettings, side: int) -> NDArray[np.uint8] | None:
    """Return the masks (N, S, S) if training uses them."""
    learned = [name for name in ("lesion_crops", "outlines") if getattr(settings, name)]
    if not learned:
        return None
    if images.masks is None:
        raise SonoforgeError(
            f"--set classifier.{learned[0]} requires NAME_mask.png beside each image of a lesion; add them, or give "
            "--budget quick"
        )
    return images.masks(side)


def cut(pixels: augmentation.Pixels, box: Box | None, side: int) -> augmentation.Pixels:
    """Return a crop of an image (S, S, 3) or a mask (S, S), or the whole, resized to ``side``."""
    if box is None and side == len(pixels):
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BILINEAR, box=box))


def collections_of(images: LabelledImages, added: LabelledImages | None = None) -> fine_tuning.Indices:
    """Return each image's collection number, real ones first; added images have their own."""
    own = np.zeros(len(images), np.int64) if images.collections is None else images.collections
    return own if added is None else np.concatenate([own, np.full(len(added), own.max() + 1)])
