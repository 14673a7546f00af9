"""Simulated scans with labels and masks, ready to train a classifier on."""

from __future__ import annotations

import numpy as np

from sonoforge.training.data.labelled_images import LabelledImages
from sonoforge.training.phantom.dataset import generate_phantom_set

CLASSES = ("normal", "benign", "malignant")


def labelled_phantoms(count: int, side: int) -> LabelledImages:
    """Return ``count`` simulated scans of ``side`` x ``side`` pixels, all of one collection."""
    scans = list(generate_phantom_set(count, 0, side))
    masks = np.stack([scan.mask.astype(np.uint8) * np.uint8(255) for scan in scans])
    pixels = np.stack([np.repeat(scan.pixels[:, :, None], 3, axis=2) for scan in scans])
    labels = np.array([scan.label for scan in scans], np.int64)
    return LabelledImages(pixels, labels, CLASSES, masks=lambda _: masks, collections=np.zeros(count, np.int64))
