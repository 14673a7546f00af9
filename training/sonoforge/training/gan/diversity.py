"""Two cheap numbers at each tick: are the generated images diverse, and are they near the real ones?

Both look at 32x32 area-averaged grey-level thumbnails, need no feature network, and cost about as
much as one training step.  They guide a training; they are no substitute for FID, KID or a judge.

*Diversity*: the mean distance between two generated images, as a share of the mean distance between
two real ones.  1 is what the real images have; 0 is one image repeated.

*Distance*: the sliced Wasserstein distance between generated and real thumbnails (Rabin 2011; used
for GANs by Karras 2018, section 5, there on Laplacian-pyramid patches): the mean over fixed random
directions of the Wasserstein-1 distance between the two sets' projections.  In units of the image
range [-1, 1], per pixel, so that a constant shift of all pixels by d gives about 0.8 d.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

THUMBNAIL = 32
DIRECTIONS = 256
# Below half of the real images' diversity a training is called collapsed.  On BUSI (malignant, 64x64,
# batch 32, learning rate 0.001) it lay between 0.82 and 1.02 at every tick of 1200 healthy steps.
COLLAPSE_FRACTION = 0.5
# An untrained generator is not a collapsed one: no verdict in the first tenth of a training.
COLLAPSE_GRACE = 0.1


def thumbnails(images: Tensor) -> Tensor:
    """Reduce (N, C, S, S) in [-1, 1] to flattened grey thumbnails (N, T * T), T = min(S, 32)."""
    side = min(images.shape[-1], THUMBNAIL)
    return adaptive_avg_pool2d(images.float().mean(1, keepdim=True), side).flatten(1)


def mean_pairwise_distance(features: Tensor) -> float:
    """Mean Euclidean distance between two different rows of (N, D); 0 for a single row."""
    if len(features) < 2:
        return 0.0
    return float(torch.pdist(features).mean())


def sliced_distance(first: Tensor, second: Tensor, seed: int = 0) -> float:
    """Sliced Wasserstein-1 distance between the rows of (N, D) and of (M, D), per root of D.

    Args:
        first: (N, D) float.
        second: (M, D) float.
        seed: Of the projection directions.
    """
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn(first.shape[1], DIRECTIONS, generator=generator).to(first.device)
    # Wasserstein-1 in one dimension is the mean distance between equal quantiles.
    levels = (torch.arange(128, device=first.device) + 0.5) / 128
    quantiles = [torch.quantile(rows @ directions, levels, dim=0) for rows in (first, second)]
    return float((quantiles[0] - quantiles[1]).abs().mean()) / math.sqrt(first.shape[1])


def is_collapsed(diversity: float, step: int, steps: int) -> bool:
    """Whether this diversity, at this step of so many, is called a collapse."""
    return step > COLLAPSE_GRACE * steps and diversity < COLLAPSE_FRACTION
