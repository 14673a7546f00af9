"""Batch normalisation that follows a condition, such as the class."""

from __future__ import annotations

from torch import Tensor, nn

from sonoforge.models.spectral import normalised

_EPSILON = 1e-4  # of spectral and batch normalisation, as in BigGAN


class ConditionalBatchNorm(nn.Module):
    """Batch normalisation whose scale and shift are linear in a condition (Dumoulin, Shlens, Kudlur, ICLR 2017).

    Args:
        width: Channels.
        condition: Length of the condition.
    """

    def __init__(self, width: int, condition: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(width, _EPSILON, affine=False)
        self.scale = normalised(nn.Linear(condition, width, bias=False), _EPSILON)
        self.shift = normalised(nn.Linear(condition, width, bias=False), _EPSILON)

    def forward(self, maps: Tensor, condition: Tensor) -> Tensor:
        """Maps (N, width, H, W) and condition (N, condition) to (N, width, H, W)."""
        scale, shift = self.scale(condition), self.shift(condition)
        normalised: Tensor = self.norm(maps) * (1 + scale[:, :, None, None]) + shift[:, :, None, None]
        return normalised
