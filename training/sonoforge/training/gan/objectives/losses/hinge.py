"""Hinge (Lim and Ye, "Geometric GAN", 2017; in this form Miyato et al., ICLR 2018, equations 16 and 17)."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import relu


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Only images on the wrong side of their margin count."""
    return relu(1 - real).mean() + relu(1 + fake).mean()


def generator_loss(fake: Tensor) -> Tensor:
    """Raise the scores of generated images."""
    return -fake.mean()
