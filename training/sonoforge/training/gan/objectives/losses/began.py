"""Boundary equilibrium (Berthelot, Schumm, Metz, "BEGAN", 2017).

The discriminator is an autoencoder, and a score is the error of its reconstruction.  A proportional controller
keeps the generated images' error at a share gamma of the real ones' (section 3.4):

    k <- clip(k + lambda_k (gamma L(x) - L(G(z))), 0, 1)

and M = L(x) + |gamma L(x) - L(G(z))| measures convergence (section 3.4.1).
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

GAMMA = 0.5  # diversity ratio: section 4.2 tries 0.3 to 0.7 on faces; 0.5 is its middle one
LAMBDA_K = 0.001  # section 3.4
START = {"k": 0.0, "convergence": 0.0}  # k_0: section 3.4


def discriminator_loss(real: Tensor, fake: Tensor, state: Mapping[str, Tensor]) -> Tensor:
    """L(x) - k L(G(z)) (section 3.4)."""
    return real.mean() - state["k"] * fake.mean()


def generator_loss(fake: Tensor, state: Mapping[str, Tensor]) -> Tensor:
    """L(G(z)) (section 3.4)."""
    del state
    return fake.mean()


def update(real: Tensor, fake: Tensor, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Move k towards equilibrium, and measure convergence, from the mean reconstruction errors."""
    balance = GAMMA * real - fake
    return {"k": (state["k"] + LAMBDA_K * balance).clamp(0.0, 1.0), "convergence": real + balance.abs()}
