"""Gradient penalty (Gulrajani et al., "Improved Training of Wasserstein GANs", NeurIPS 2017)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sonoforge.training.gan.objectives.batch import Batch


def gradient_penalty(gradient: Tensor) -> Tensor:
    """Mean of (|g| - 1)^2 over the batch, |g| the Euclidean norm of each image's gradient (N, C, S, S)."""
    norms: Tensor = gradient.flatten(1).norm(dim=1)
    return (norms - 1).square().mean()


def penalty(discriminator: nn.Module, batch: Batch, state: dict[str, Tensor]) -> Tensor:
    """Push the critic's slope to 1 between real and generated images (algorithm 1, lines 4 to 7).

    The critic must have no batch normalisation, as each image needs its own slope (section 4).
    """
    del state
    between = batch.fake.lerp(batch.real, batch.mix).requires_grad_(True)
    score, _ = discriminator(between, batch.labels)
    (gradient,) = torch.autograd.grad(score.sum(), between, create_graph=True)
    return gradient_penalty(gradient)
