"""What a training step draws: which images and which latents, from (seed, purpose, step) alone."""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sonoforge.training.seeds import derive_seed


def batch_indices(images: int, batch: int, seed: int, step: int) -> NDArray[np.int64]:
    """Which images make up the batch of this step.

    The images run in an endless row of shuffled epochs, cut into batches: a batch may straddle two
    epochs, or hold several when it is larger than the data set; every epoch holds each image once.

    Args:
        images: Number N of images.
        batch: Images a step.
        seed: The run's seed.
        step: Counted from 0.

    Returns:
        (batch,) int64 in [0, N).
    """
    first, last = step * batch // images, ((step + 1) * batch - 1) // images
    orders = [
        np.random.default_rng(derive_seed(seed, "order", epoch)).permutation(images) for epoch in range(first, last + 1)
    ]
    start = step * batch - first * images
    return np.concatenate(orders)[start : start + batch].astype(np.int64)


def draw_latents(count: int, size: int, seed: int, purpose: str, step: int = 0) -> Tensor:
    """Draw (count, size) standard normal floats on the CPU, the same for every device."""
    generator = torch.Generator().manual_seed(derive_seed(seed, purpose, step))
    return torch.randn(count, size, generator=generator)


def data_fingerprint(images: NDArray[np.uint8]) -> str:
    """Hash shape and content of uint8 images."""
    digest = hashlib.sha256(str(images.shape).encode())
    digest.update(np.ascontiguousarray(images).data)
    return digest.hexdigest()
