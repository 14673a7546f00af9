"""What is done to real and generated images alike before the discriminator sees them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

# (images (N, C, S, S) in [-1, 1], source of random numbers) -> images of the same shape, differentiable.
Augmentation = Callable[[Tensor, torch.Generator], Tensor]


def unchanged(images: Tensor, generator: torch.Generator) -> Tensor:
    """Return the images as they are."""
    del generator
    return images


AUGMENTATIONS: dict[str, Augmentation] = {"none": unchanged}
