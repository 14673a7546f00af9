"""What a network that learns from pixels is shown of an image: the scan, or a crop with or without its lesion.

Crops of a scan with its lesion, and without: scans without a lesion from collections that have none.

Healthy scans come from few collections, so a network learns the collection instead.  Every scan with a lesion also
shows healthy tissue of the same scanner: a crop beside the lesion is an example without one, a crop round it, of a
size drawn from the same range, its counterpart with one.  Whole scans of a collection without healthy ones must then
not teach whether there is a lesion, or "whole picture" would mean "lesion".
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.plain_image import grey_levels
from sonoforge.training.classifier.augmentation import Pixels, draw_change
from sonoforge.training.classifier.fine_tuning import Batch, Indices, TrainingInputs
from sonoforge.training.classifier.losses import HEALTHY, Outlines
from sonoforge.training.classifier.network import bfloat16, to_tensor
from sonoforge.training.classifier.settings import LARGE, ClassifierSettings
from sonoforge.training.data.labelled_images import LabelledImages
from sonoforge.training.data.masks import HALF

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels."""

SIDES = (0.35, 0.8)
"""Smallest and largest side of a crop, as shares of the picture's."""
_MARGIN = 0.025  # of the picture, between a lesion and a crop without it
_TRIES = 20
_BLACK = 12  # mean grey level below which a crop shows nothing


def lesion_box(mask: NDArray[np.uint8]) -> Box | None:
    """Return the smallest box around the lesion of a mask (H, W); None where it is empty."""
    rows, columns = np.flatnonzero((mask >= HALF).any(axis=1)), np.flatnonzero((mask >= HALF).any(axis=0))
    if not len(rows):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def crop_without(levels: NDArray[np.uint8], lesion: Box, rng: np.random.Generator) -> Box | None:
    """Draw a crop of a picture (H, W) beside its lesion; None where none was found, as beside a large one."""
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
    """Draw a crop of a picture (height, width) that holds its whole lesion, however large that is."""
    spans = []
    for side, start, end in ((size[1], lesion[0], lesion[2]), (size[0], lesion[1], lesion[3])):
        least = max(round(SIDES[0] * side), end - start)
        length = int(rng.integers(least, max(least, round(SIDES[1] * side)) + 1))
        first = int(rng.integers(max(0, end - length), min(start, side - length) + 1))
        spans.append((first, first + length))
    (left, right), (top, bottom) = spans
    return left, top, right, bottom


def any_crop(size: tuple[int, int], rng: np.random.Generator) -> Box:
    """Draw a crop of a picture (height, width), as of a scan without a lesion."""
    nothing = (size[1], size[0], 0, 0)  # no place of a crop leaves a part of it out
    return crop_around(size, nothing, rng)


ENOUGH = 10
"""Healthy scans from which on a collection teaches by whole scans if there is a lesion."""


def find_healthy(classes: Sequence[str]) -> int:
    """Return the index of the class of scans without a lesion.

    Raises:
        SonoforgeError: There is none, or but one class beside it.
    """
    names = [name.casefold() for name in classes]
    if HEALTHY not in names or len(names) < 3:
        raise SonoforgeError(
            f"--heads hierarchical: found classes {', '.join(classes)}, expected {HEALTHY} and at least two kinds "
            "of lesion, or --budget quick"
        )
    return names.index(HEALTHY)


def balanced_frequencies(labels: Indices, collections: Indices) -> NDArray[np.float64]:
    """Return how often each image (N,) is shown if all collections are shown equally often; of mean 1.

    Equal shares of all collections are what Gulrajani & Lopez-Paz, In search of lost domain generalization (ICLR 2021),
    train with.  Within a collection, an image goes by the inverse square root of how many are of its class.
    """
    _, kinds = np.unique(np.stack([collections, labels]), axis=1, return_inverse=True)
    within: NDArray[np.float64] = 1 / np.sqrt(np.bincount(kinds.ravel()))[kinds.ravel()]
    _, own = np.unique(collections, return_inverse=True)
    shares: NDArray[np.float64] = within / np.bincount(own, weights=within)[own]
    mean_one: NDArray[np.float64] = shares / shares.mean()
    return mean_one


class _View(NamedTuple):
    """What is shown of one image, and what that teaches."""

    pixels: Pixels  # (S, S, 3)
    label: int  # class of what is shown
    teaches_lesion: bool  # whether it may teach if there is a lesion
    is_crop: bool
    mask: Pixels | None  # (S, S) its lesion, where outlines are learnt
    mask_known: bool  # whether a lesion that is shown is in the mask


def scan_inputs(
    images: LabelledImages, settings: ClassifierSettings, frozen: nn.Module, device: torch.device
) -> TrainingInputs:
    """Serve whole images and crops of them, augmented afresh each time, and say what each view shows and teaches.

    The frozen blocks, in evaluation mode, are run on each view; the trained ones read the result.

    Raises:
        SonoforgeError: No healthy class; or crops or outlines without masks.
    """
    healthy = find_healthy(images.classes)
    large = images.pixels
    side = settings.look or large.shape[1]
    whole = np.stack([cut(pixels, None, side) for pixels in large]) if settings.look else large
    if settings.lesion_crops and images.larger is not None and large.shape[1] < LARGE:
        large = images.larger(LARGE)
    masks = _read_masks(images, settings, large.shape[1])
    boxes = [None] * len(images) if masks is None else [lesion_box(mask) for mask in masks]
    whole_teach = _whole_scans_teach(images, healthy)

    def view(i: int, rng: np.random.Generator) -> _View:
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
        change = draw_change(settings.augmentation, side, rng)
        mask = None
        if masks is not None and settings.outlines:
            mask = change.place_mask(cut(masks[i], box, side))
        shown = cut(large[i], box, side) if box else whole[i]
        known = lesion is not None or images.labels[i] == healthy
        return _View(change.apply(shown), label, bool(box) or bool(whole_teach[i]), bool(box), mask, bool(known))

    def batch(indices: Indices, rng: np.random.Generator) -> Batch:
        views = [view(int(i), rng) for i in indices]
        with torch.no_grad(), bfloat16(frozen, device, enabled=settings.precision == "bf16"):
            inputs = frozen(to_tensor(np.stack([view.pixels for view in views]), device))
        return Batch(
            inputs,
            np.array([view.label for view in views], np.int64),
            np.array([view.teaches_lesion for view in views]),
            np.array([view.is_crop for view in views]),
            outlines=_outlines(views, device) if settings.outlines else None,
        )

    return TrainingInputs(
        batch, images.labels, healthy=healthy, healthy_share=_share_of_healthy(images, healthy, whole_teach)
    )


def together(images: LabelledImages, added: LabelledImages) -> LabelledImages:
    """Return real images and those added to them as one set; the added ones count as a collection of their own."""

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
    """Return the masks (N, S, S) if anything is learnt from them."""
    option = "--lesion-crops" if settings.lesion_crops else "--outlines" if settings.outlines else ""
    if not option:
        return None
    if images.masks is None:
        raise SonoforgeError(
            f"{option}: found images without masks, expected NAME_mask.png beside each lesion's, or --budget quick"
        )
    return images.masks(side)


def _outlines(views: Sequence[_View], device: torch.device) -> Outlines:
    masks = np.stack([view.mask for view in views if view.mask is not None])
    known = np.array([view.mask_known for view in views], np.float32)
    return Outlines(torch.from_numpy(masks).to(device).float() / 255, torch.from_numpy(known).to(device))


def cut(pixels: Pixels, box: Box | None, side: int) -> Pixels:
    """Return a crop of an image (S, S, 3) or a mask (S, S), or all of it, resized to ``side``."""
    if box is None and side == len(pixels):
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BILINEAR, box=box))


def collections_of(images: LabelledImages, added: LabelledImages | None = None) -> Indices:
    """Return the number of each image's collection, real ones first; the added ones are one of their own."""
    own = np.zeros(len(images), np.int64) if images.collections is None else images.collections
    return own if added is None else np.concatenate([own, np.full(len(added), own.max() + 1)])


def _share_of_healthy(images: LabelledImages, healthy: int, whole_teach: NDArray[np.bool_]) -> float:
    """Return how many of the scans are healthy in collections that have such scans; a half where none has."""
    known = images.labels[whole_teach] == healthy
    return float(known.mean()) if 0 < known.sum() < len(known) else 0.5


def _whole_scans_teach(images: LabelledImages, healthy: int) -> NDArray[np.bool_]:
    """Whether each image (N,) is of a collection with `ENOUGH` healthy scans."""
    collections = collections_of(images)
    counts = np.bincount(collections[images.labels == healthy], minlength=int(collections.max()) + 1)
    return counts[collections] >= ENOUGH
