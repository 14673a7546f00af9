"""The batch of one update, as penalties see it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Batch(NamedTuple):
    """One batch of one update."""

    real: Tensor  # (N, C, S, S) real images in [-1, 1], augmented
    fake: Tensor  # (N, C, S, S) generated images, augmented, without a gradient to the generator
    latents: Tensor  # (N, Z) that made `fake`
    labels: Tensor | None  # (N,) int64 classes of both, or None where there is no conditioning
    mix: Tensor  # (N, 1, 1, 1) in [0, 1), one number for each image, drawn for the batches of all processes together
    image_channels: int  # channels that are image; those after them are masks
    chance: torch.Generator  # source of random numbers of this update, on the images' device
