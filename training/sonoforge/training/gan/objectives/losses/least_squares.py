"""Least squares (Mao et al., "Least Squares Generative Adversarial Networks", ICCV 2017)."""

from __future__ import annotations

from torch import Tensor


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Target b = 1 for real and a = 0 for generated (equation 9, the 0-1 coding of section 3.2.3)."""
    return 0.5 * (real - 1).square().mean() + 0.5 * fake.square().mean()


def generator_loss(fake: Tensor) -> Tensor:
    """Target c = 1 for generated (equation 9)."""
    return 0.5 * (fake - 1).square().mean()
