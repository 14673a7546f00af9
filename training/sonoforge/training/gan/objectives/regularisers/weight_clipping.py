"""Weight clipping (Arjovsky, Chintala, Bottou, "Wasserstein GAN", ICML 2017, algorithm 1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


@torch.no_grad()
def clip_weights(network: nn.Module, limit: float) -> None:
    """Clip every parameter to [-limit, limit] in place; the paper: 0.01."""
    parameters: list[Tensor] = [*network.parameters()]
    torch._foreach_clamp_min_(parameters, -limit)
    torch._foreach_clamp_max_(parameters, limit)
