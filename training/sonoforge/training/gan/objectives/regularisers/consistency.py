"""Consistency (Zhang et al., "Consistency Regularization for Generative Adversarial Networks", ICLR 2020)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from sonoforge.training.gan.objectives.batch import Batch

SHIFT = 4  # pixels at most, at 32x32: section 3.1; scaled with the image here


def flip_and_shift(images: Tensor, chance: torch.Generator) -> Tensor:
    """Flip half of the images (N, C, S, S), and move each by whole pixels with a reflected border (section 3.1)."""
    count, _, side, _ = images.shape
    reach = max(1, SHIFT * side // 32)
    draws = torch.rand(3, count, generator=chance, device=images.device)
    flipped = torch.where(draws[0].lt(0.5)[:, None, None, None], images.flip(3), images)
    moved = (draws[1:] * (2 * reach + 1)).long()
    across = torch.arange(side, device=images.device)
    rows, columns = (moved[axis][:, None] + across for axis in (0, 1))
    padded = pad(flipped, (reach, reach, reach, reach), mode="reflect")
    image = torch.arange(count, device=images.device)
    return padded[image[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def penalty(discriminator: nn.Module, batch: Batch, state: dict[str, Tensor]) -> Tensor:
    """Mean squared change of the scores of real images when these are flipped and moved (equation 4)."""
    del state
    plain, _ = discriminator(batch.real, batch.labels)
    moved, _ = discriminator(flip_and_shift(batch.real, batch.chance), batch.labels)
    change: Tensor = plain - moved
    return change.square().mean()
