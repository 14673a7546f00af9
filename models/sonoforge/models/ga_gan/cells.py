"""A cell: the graph that a code describes.

Each convolution is followed by ELU and batch normalisation.  Layers are named by their edge and operation, so that
networks of other codes have those that they share under the same names.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from sonoforge.models.ga_gan.codes import OPERATIONS, Code
from sonoforge.models.layers import SelfAttention
from sonoforge.models.spectral import convolution, normalised


def _convolution(kernel: int) -> Callable[[int], nn.Module]:
    return lambda width: _activated(convolution(width, width, kernel), width)


def _separable(width: int) -> nn.Module:
    depthwise = normalised(nn.Conv2d(width, width, 3, padding=1, groups=width))
    return _activated(nn.Sequential(depthwise, convolution(width, width, 1)), width)


def _activated(layer: nn.Module, width: int) -> nn.Module:
    return nn.Sequential(layer, nn.ELU(), nn.BatchNorm2d(width))


# By the names of `codes.OPERATIONS`; zero has no layer, as nothing comes along its edge.
_LAYERS: dict[str, Callable[[int], nn.Module]] = {
    "convolution 1x1": _convolution(1),
    "convolution 3x3": _convolution(3),
    "convolution 5x5": _convolution(5),
    "separable convolution 3x3": _separable,
    "skip": lambda width: nn.Identity(),
    "max-pool 3x3": lambda width: nn.MaxPool2d(3, stride=1, padding=1),
    "average-pool 3x3": lambda width: nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False),
}


class Cell(nn.Module):
    """Maps to maps of the same shape: every node sums its incoming edges, and the cell's input is added at the end.

    Args:
        code: What the cell is.
        network: ``generator`` or ``discriminator``, which the code is of.
        width: Channels.
        attends: Whether self-attention follows.
    """

    def __init__(self, code: Code, network: str, width: int, *, attends: bool) -> None:
        super().__init__()
        self.nodes = code.nodes
        self.edges = nn.ModuleDict()
        for node, group in enumerate(code.edges, start=1):
            for later, digit in enumerate(group, start=node + 1):
                name = OPERATIONS[network][digit]
                if name != "zero":
                    self.edges[f"{node}-{later} {name}".replace(" ", "-")] = _LAYERS[name](width)
        self.attention = SelfAttention(width) if attends else nn.Identity()

    def forward(self, maps: Tensor) -> Tensor:
        """(N, width, H, W) to the same."""
        values = [maps] + [torch.zeros_like(maps)] * (self.nodes - 1)
        for name, layer in self.edges.items():  # those from a node come after all those to it
            node, later = int(name[0]), int(name[2])
            values[later - 1] = values[later - 1] + layer(values[node - 1])
        attended: Tensor = self.attention(maps + values[-1])
        return attended
