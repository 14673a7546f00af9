"""Boundary-seeking (Hjelm et al., "Boundary-Seeking Generative Adversarial Networks", ICLR 2018).

The discriminator is trained by binary cross-entropy; the generator seeks the decision boundary, where
D(x) = 1/2, instead of the discriminator's certainty (section 3, continuous variables).
"""

from __future__ import annotations

from torch import Tensor


def generator_loss(fake: Tensor) -> Tensor:
    """Half the mean of (log D - log(1 - D))^2 of generated images: that difference is the score itself."""
    return 0.5 * fake.square().mean()
