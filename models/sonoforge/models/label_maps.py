"""Label maps that a generator keeps among its weights, to draw into where it is given none.

A map has a channel for each structure, -1 outside and 1 inside; the background has none.  So a generator that draws
into label maps is used as any other is: a latent vector chooses one of the maps it keeps.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class KeptMaps(nn.Module):
    """What a generator that draws into label maps begins with.

    Args:
        maps: Number M of label maps that it keeps.
        structures: Channels K of each.
        side: Side S of each in pixels.
    """

    kept: Tensor  # (M, K, S * S / 8) uint8: label maps, a bit a pixel
    bits: Tensor  # (8,) float: the value of each bit of a byte

    def __init__(self, maps: int, structures: int, side: int) -> None:
        super().__init__()
        self.structures, self.side = structures, side
        self.register_buffer("kept", torch.zeros(maps, structures, side**2 // 8, dtype=torch.uint8))
        self.register_buffer("bits", 2 ** torch.arange(8.0), persistent=False)

    def keep_maps(self, maps: Tensor) -> None:
        """Keep label maps (M, K, S, S) bool, a bit a pixel."""
        bits = maps.flatten(2).unflatten(2, (-1, 8)).to(self.bits)
        self.kept.copy_((bits * self.bits).sum(3).to(torch.uint8))

    def choose_maps(self, latents: Tensor) -> Tensor:
        """Return a kept label map (N, K, S, S), -1 or 1, for each latent vector (N, Z): by its first number's quantile.

        Raises:
            ValueError: None are kept.
        """
        count = len(self.kept)
        if not count:
            raise ValueError(
                f"maps: found None, expected (N, {self.structures}, S, S): the network draws into label maps"
            )
        quantiles = (1 + torch.erf(latents[:, 0] / math.sqrt(2))) / 2
        chosen = self.kept.index_select(0, (quantiles * count).long().clamp(0, count - 1))
        bits = torch.remainder(torch.floor(chosen.float()[..., None] / self.bits), 2)
        maps: Tensor = (2 * bits - 1).flatten(2).unflatten(2, (self.side, self.side))
        return maps.to(latents.dtype)
