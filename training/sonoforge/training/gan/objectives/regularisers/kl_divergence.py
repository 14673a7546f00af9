"""What keeps an encoder's latents normal (Kingma and Welling, ICLR 2014, appendix B), as SPADE has it (Park 2019)."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from sonoforge.training.gan.objectives.batch import Batch


def penalty(generator: nn.Module, batch: Batch, state: dict[str, Tensor]) -> Tensor:
    """Kullback-Leibler divergence of what the encoder says of real images from N(0, 1), the mean over images."""
    del state
    own: Any = generator
    mean, log_variance = own.encoder(batch.real[:, : batch.image_channels])
    divergence: Tensor = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean()
    return divergence
