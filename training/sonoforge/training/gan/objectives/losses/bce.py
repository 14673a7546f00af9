"""Binary cross-entropy (Goodfellow et al., "Generative Adversarial Nets", 2014)."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import softplus

# -log sigmoid(x) = softplus(-x) and -log(1 - sigmoid(x)) = softplus(x), without overflow.


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Target 1 for real and 0 for generated (equation 1)."""
    return softplus(-real).mean() + softplus(fake).mean()


def non_saturating_generator_loss(fake: Tensor) -> Tensor:
    """Maximise log D(G(z)) (section 3, after equation 1): strong gradients while the discriminator wins."""
    return softplus(-fake).mean()


def minimax_generator_loss(fake: Tensor) -> Tensor:
    """Minimise log(1 - D(G(z))) (equation 1): the game as posed; saturates while the discriminator wins."""
    return -softplus(fake).mean()
