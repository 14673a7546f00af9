"""The Wasserstein distance's dual (Arjovsky, Chintala, Bottou, "Wasserstein GAN", ICML 2017).

The scores are those of a critic that some regulariser keeps Lipschitz: weight clipping there, a gradient penalty
in Gulrajani et al. 2017.
"""

from __future__ import annotations

from torch import Tensor


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """The negative of the estimated distance, to be minimised (equation 2, algorithm 1)."""
    return fake.mean() - real.mean()


def generator_loss(fake: Tensor) -> Tensor:
    """The part of the distance that the generator moves (algorithm 1)."""
    return -fake.mean()
