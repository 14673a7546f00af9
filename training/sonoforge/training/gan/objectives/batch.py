"""The batch of one update, as penalties see it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Batch(NamedTuple):
    """One batch of one update.

    Attributes:
        real: (N, C, S, S) real images in [-1, 1], augmented.
        fake: (N, C, S, S) generated images, augmented, without a gradient to the generator.
        latents: (N, Z) that made ``fake``.
        labels: (N,) int64 classes of both, or None where there is no conditioning.
        mix: (N, 1, 1, 1) in [0, 1), one number for each image, drawn for the batches of all processes together.
        image_channels: Channels that are image; those after them are masks.
        chance: Source of random numbers of this update, on the images' device.
    """

    real: Tensor
    fake: Tensor
    latents: Tensor
    labels: Tensor | None
    mix: Tensor
    image_channels: int
    chance: torch.Generator
