"""Adversarial losses: what each network minimises, given the discriminator's logits."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor
from torch.nn.functional import softplus


class Loss(NamedTuple):
    """A pair of scalar functions of logits (N,)."""

    discriminator: Callable[[Tensor, Tensor], Tensor]  # (real logits, fake logits)
    generator: Callable[[Tensor], Tensor]  # (fake logits)


def bce_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """Binary cross-entropy with target 1 for real and 0 for generated (Goodfellow 2014, equation 1)."""
    # -log sigmoid(x) = softplus(-x) and -log(1 - sigmoid(x)) = softplus(x), without overflow.
    return softplus(-real).mean() + softplus(fake).mean()


def bce_generator(fake: Tensor) -> Tensor:
    """Binary cross-entropy with target 1 for generated: the non-saturating form (Goodfellow 2014, section 3)."""
    return softplus(-fake).mean()


LOSSES: dict[str, Loss] = {"bce": Loss(bce_discriminator, bce_generator)}
