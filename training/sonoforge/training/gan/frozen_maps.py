"""The frozen network that a projected discriminator sees images through."""

from __future__ import annotations

from typing import Self

from torch import Tensor, nn

from sonoforge.training.metrics.features import Features

SCALES = 4  # Sauer et al. 2021, section 3.1


class FrozenMaps(nn.Module):
    """A feature network's maps at its four coarsest scales, of each the deepest; always in evaluation mode.

    Args:
        features: Shared, not copied: nothing here trains or changes it.
    """

    def __init__(self, features: Features) -> None:
        super().__init__()
        self.network = features.module
        self._features = features

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode: batch norm keeps the statistics that its weights were trained with."""
        del mode
        return super().train(False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Images (N, 1 or 3, S, S) in [-1, 1] to maps, the finest first."""
        deepest = {maps.shape[2]: maps for maps in self._features.maps(images)}
        return [deepest[side] for side in sorted(deepest, reverse=True)[-SCALES:]]
