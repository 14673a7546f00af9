"""R1 (Mescheder, Geiger, Nowozin, "Which Training Methods for GANs do actually Converge?", ICML 2018)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sonoforge.training.gan.objectives.batch import Batch


def penalty(discriminator: nn.Module, batch: Batch, state: dict[str, Tensor]) -> Tensor:
    """Half the mean squared gradient norm on real images (equation 9); the weight is the paper's gamma."""
    del state
    real = batch.real.detach().requires_grad_(True)
    score, _ = discriminator(real, batch.labels)
    (gradient,) = torch.autograd.grad(score.sum(), real, create_graph=True)
    return 0.5 * gradient.square().sum(dim=(1, 2, 3)).mean()
