"""Enlargement of a training set by distorted copies, once, before the training.

Berezsky and Liashchynskyi 2024 expand each class of about 100 images to 700 by affine distortion: 7 copies.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from torch import Tensor

from sonoforge.runtime.seeds import derive_seed
from sonoforge.training.data.pixels import Pixels, to_pixels, to_tensor, to_unit
from sonoforge.training.gan.augmentations.affine import AffineRanges, affine_matrices, warp
from sonoforge.training.gan.batches.training_set import TrainingSet

CHUNK = 64  # images distorted at a time, which bounds the memory for float copies


def expand(images: TrainingSet, copies: int, ranges: AffineRanges, seed: int) -> TrainingSet:
    """Add distorted copies of each image, drawn from (seed, image, copy) alone.

    Returns:
        ``copies`` * N images: the N unchanged, then every further copy of all N in the same order.
    """
    parts = [images.pixels]
    for copy in range(1, copies):
        seeds = [derive_seed(seed, f"expansion copy {copy}", index) for index in range(len(images))]
        draws = np.stack([np.random.default_rng(own).uniform(-1, 1, 5) for own in seeds])
        parts.append(_distort(images, affine_matrices(draws, ranges)))
    labels = None if images.labels is None else np.tile(images.labels, copies)
    return replace(images, pixels=np.concatenate(parts), labels=labels)


def _distort(images: TrainingSet, matrices: Tensor) -> Pixels:
    chunks = [slice(start, start + CHUNK) for start in range(0, len(images), CHUNK)]
    moved = [
        to_pixels(warp(to_unit(to_tensor(images.pixels[chunk])), matrices[chunk], images.image_channels))
        for chunk in chunks
    ]
    return np.concatenate(moved)
