"""What a network that learns from pixels is shown of an image: the scan, or a window with or without its lesion."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.grey_levels import grey_levels
from sonoforge.training.classifier.augmentation import Pixels, augment
from sonoforge.training.classifier.fine_tuning import Batch, Indices, TrainingInputs
from sonoforge.training.classifier.network import to_tensor
from sonoforge.training.classifier.questions import HEALTHY
from sonoforge.training.classifier.settings import ClassifierSettings
from sonoforge.training.classifier.windows import Box, any_window, lesion_box, window_round, window_without
from sonoforge.training.data.labelled_images import LabelledImages

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
            f"--heads questions: found classes {', '.join(classes)}, expected {HEALTHY} and at least two kinds "
            "of lesion"
        )
    return names.index(HEALTHY)


def balanced_weights(labels: Indices, collections: Indices) -> NDArray[np.float64]:
    """Weight each image by the inverse square root of how many its collection has of its class; (N,), mean 1."""
    _, kinds = np.unique(np.stack([collections, labels]), axis=1, return_inverse=True)
    weights: NDArray[np.float64] = 1 / np.sqrt(np.bincount(kinds.ravel()))[kinds.ravel()]
    mean_one: NDArray[np.float64] = weights / weights.mean()
    return mean_one


def scan_inputs(images: LabelledImages, settings: ClassifierSettings, device: torch.device) -> TrainingInputs:
    """Serve whole images and windows of them, augmented afresh each time, and say what each view shows and teaches.

    Args:
        images: N images, with masks if ``settings.windows`` is not 0.
        settings: For ``augmentation`` and ``windows``.
        device: Where the network is.

    Raises:
        SonoforgeError: No healthy class; or windows without masks.
    """
    healthy = find_healthy(images.classes)
    side = images.pixels.shape[1]
    boxes: list[Box | None] = [None] * len(images)
    if settings.windows:
        if images.masks is None:
            raise SonoforgeError("--windows: found images without masks, expected NAME_mask.png beside each lesion's")
        boxes = [lesion_box(mask) for mask in images.masks(side)]
    whole_teach = _whole_scans_teach(images, healthy)

    def view(i: int, rng: np.random.Generator) -> tuple[Pixels, int, bool]:
        label, lesion, box = int(images.labels[i]), boxes[i], None
        if settings.windows and rng.random() < settings.windows:
            if label == healthy:
                box = any_window((side, side), rng)
            elif lesion is not None:
                if rng.random() < 0.5:
                    box = window_without(grey_levels(Image.fromarray(images.pixels[i])), lesion, rng)
                    label = healthy if box else label
                else:
                    box = window_round((side, side), lesion, rng)
        shown = cut(images.pixels[i], box) if box else images.pixels[i]
        return augment(shown, settings.augmentation, rng), label, bool(box) or bool(whole_teach[i])

    def batch(indices: Indices, rng: np.random.Generator) -> Batch:
        views = [view(int(i), rng) for i in indices]
        return Batch(
            to_tensor(np.stack([pixels for pixels, _, _ in views]), device),
            np.array([label for _, label, _ in views], np.int64),
            np.array([teaches for _, _, teaches in views]),
        )

    return TrainingInputs(batch, images.labels, healthy=healthy)


def together(images: LabelledImages, added: LabelledImages) -> LabelledImages:
    """Return real images and those added to them as one set; the added ones count as a collection of their own."""

    def masks(side: int) -> NDArray[np.uint8]:
        own = np.zeros((0, side, side), np.uint8) if images.masks is None else images.masks(side)
        none = np.zeros((len(added), side, side), np.uint8)
        return np.concatenate([own, none if added.masks is None else added.masks(side)])

    return LabelledImages(
        np.concatenate([images.pixels, added.pixels]),
        np.concatenate([images.labels, added.labels]),
        images.classes,
        masks=None if images.masks is None else masks,
        collections=collections_of(images, added),
    )


def cut(pixels: Pixels, box: Box) -> Pixels:
    """Return a window of an image (S, S, 3), resized to its side."""
    side = pixels.shape[0]
    return np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BILINEAR, box=box))


def collections_of(images: LabelledImages, added: LabelledImages | None = None) -> Indices:
    """Return the number of each image's collection, real ones first; the added ones are one of their own."""
    own = np.zeros(len(images), np.int64) if images.collections is None else images.collections
    return own if added is None else np.concatenate([own, np.full(len(added), own.max() + 1)])


def _whole_scans_teach(images: LabelledImages, healthy: int) -> NDArray[np.bool_]:
    """Whether each image (N,) is of a collection with `ENOUGH` healthy scans."""
    collections = collections_of(images)
    counts = np.bincount(collections[images.labels == healthy], minlength=int(collections.max()) + 1)
    return counts[collections] >= ENOUGH
