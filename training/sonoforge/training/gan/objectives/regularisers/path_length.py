"""Path length (Karras et al., "Analyzing and Improving the Image Quality of StyleGAN", CVPR 2020, section 3.2).

Equal steps in the latent space should change the image equally much: the length of J^T y, for random images y,
is pulled towards its own moving average.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from sonoforge.models.stylegan.mapping import has_styles, mix_styles
from sonoforge.training.gan.objectives.batch import Batch

DECAY = 0.99  # of the moving average: appendix B
SHRINK = 2  # the penalty takes half a batch: the authors' code, to save memory
START = {"path_length": 0.0}


def path_lengths(images: Tensor, latents: Tensor, noise: Tensor) -> Tensor:
    """Length of J^T y at each latent (equation 4).

    Args:
        images: (N, C, S, S) made from ``latents``, with the graph between them.
        latents: (N, L, W): L rows of W numbers for each image.
        noise: (N, C, S, S) standard normal; divided here by S, so that the length does not depend on the
            resolution.

    Returns:
        (N,) root of the mean over L of the squared length over W.
    """
    projected = (images * noise).sum() / math.sqrt(images.shape[2] * images.shape[3])
    (gradient,) = torch.autograd.grad(projected, latents, create_graph=True)
    return gradient.square().sum(2).mean(1).sqrt()


def penalty(generator: nn.Module, batch: Batch, state: dict[str, Tensor]) -> Tensor:
    """Mean squared deviation of the lengths from their moving average (equation 4), which is updated first."""
    count = max(1, len(batch.latents) // SHRINK)
    latents = batch.latents[:count].detach()
    labels = None if batch.labels is None else batch.labels[:count]
    if has_styles(generator):
        styled: Any = generator
        # As in any pass of the training: some styles mixed, noise random.
        rows = mix_styles(styled.mapping, styled.mapping(latents, labels), labels, styled.mixing, batch.chance)
        images = styled.synthesise(rows, batch.chance)
    else:  # without styles, the latent is the one row
        rows = latents[:, None].requires_grad_(True)
        images = generator(rows[:, 0], labels)
    noise = torch.randn(images.shape, generator=batch.chance, device=images.device)
    lengths = path_lengths(images, rows, noise)
    average = state["path_length"].lerp(lengths.mean(), 1 - DECAY)
    state["path_length"] = average.detach()
    return (lengths - average).square().mean()
