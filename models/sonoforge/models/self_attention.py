"""Self-attention over feature maps.

Zhang, Goodfellow, Metaxas, Odena, "Self-Attention Generative Adversarial Networks", ICML 2019, with the value at half
the channels, and keys and values pooled, as there.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d

from sonoforge.models.spectral import convolution

_EPSILON = 1e-4  # of spectral normalisation, as in BigGAN


class SelfAttention(nn.Module):
    """Each pixel of the maps adds what it attends to anywhere in the image (Zhang 2019, section 3).

    Args:
        width: Channels, a multiple of 8 or 8 at least.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.queries = _projection(width, max(1, width // 8))
        self.keys = _projection(width, max(1, width // 8))
        self.values = _projection(width, max(1, width // 2))
        self.output = _projection(max(1, width // 2), width)
        self.strength = nn.Parameter(torch.zeros(()))  # gamma: nothing is attended to at first

    def forward(self, maps: Tensor) -> Tensor:
        """(N, width, H, W) to the same, H and W even."""
        queries = self.queries(maps).flatten(2)
        keys = max_pool2d(self.keys(maps), 2).flatten(2)
        values = max_pool2d(self.values(maps), 2).flatten(2)
        weights = torch.bmm(queries.transpose(1, 2), keys).softmax(2)
        attended = torch.bmm(values, weights.transpose(1, 2)).unflatten(2, maps.shape[2:])
        result: Tensor = maps + self.strength * self.output(attended)
        return result


def _projection(inputs: int, outputs: int) -> nn.Module:
    return convolution(inputs, outputs, 1, bias=False, epsilon=_EPSILON)
