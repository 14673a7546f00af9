"""What a training step draws: which images and which latents, from (seed, purpose, step) alone."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sonoforge.runtime.seeds import derive_seed


def batch_indices(images: int, batch: int, seed: int, step: int) -> NDArray[np.int64]:
    """Which images make up the batch of this step: (batch,) int64 in [0, N).

    The images run in an endless row of shuffled epochs, cut into batches: a batch may straddle two
    epochs, or hold several when it is larger than the data set; every epoch holds each image once.
    """
    return shuffled_epochs(images, step * batch, (step + 1) * batch, seed, "order")


def shuffled_epochs(count: int, begin: int, end: int, seed: int, purpose: str) -> NDArray[np.int64]:
    """Return items ``begin`` to ``end`` (exclusive, above ``begin``) of an endless row of shuffled 0..count-1."""
    first, last = begin // count, (end - 1) // count
    orders = [
        np.random.default_rng(derive_seed(seed, purpose, epoch)).permutation(count) for epoch in range(first, last + 1)
    ]
    return np.concatenate(orders)[begin - first * count : end - first * count].astype(np.int64)


def draw_latents(count: int, size: int, seed: int, purpose: str, step: int = 0, distribution: str = "normal") -> Tensor:
    """Draw (count, size) floats on the CPU, the same for every device: ``normal``, or ``uniform`` in [-1, 1]."""
    generator = torch.Generator().manual_seed(derive_seed(seed, purpose, step))
    if distribution == "uniform":
        return torch.rand(count, size, generator=generator) * 2 - 1
    return torch.randn(count, size, generator=generator)
