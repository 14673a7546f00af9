"""Two cheap numbers at each tick: are the generated images diverse, and are they near the real ones?

Both look at 32x32 area-averaged grey-level thumbnails, need no feature network, and cost about as
much as one training step.  They guide a training; they are no substitute for FID, KID or a judge.

*Diversity*: the mean distance between two generated images, as a share of the mean distance between
two real ones.  1 is what the real images have; 0 is one image repeated.

*Distance*: the sliced Wasserstein distance between generated and real thumbnails
(`sonoforge.runtime.distances.sliced`; on patches of a Laplacian pyramid: `sonoforge.runtime.distances.laplacian`).
In units of the image range [-1, 1]; a direction of length 1 spreads over all D pixels, about 1 / sqrt(D) to each,
so that a constant shift of all pixels by d gives about 0.8 d, whatever D.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from sonoforge.runtime.distances.sliced import sliced_wasserstein
from sonoforge.training.gan.checkpoint import COLLAPSE_FRACTION

THUMBNAIL = 32
DIRECTIONS = 256
# An untrained generator is not a collapsed one: it is not judged in the first tenth of a training.
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


def sliced_distance(first: Tensor, second: Tensor) -> float:
    """Sliced Wasserstein distance of rows (N, D) and (M, D) along 256 fixed directions; NaN if any is not finite."""
    if not (torch.isfinite(first).all() and torch.isfinite(second).all()):
        return math.nan
    return sliced_wasserstein(first.cpu().numpy(), second.cpu().numpy(), DIRECTIONS, 0)


def is_collapsed(diversity: float, step: int, steps: int) -> bool:
    """Whether this diversity, at this step of so many, is called a collapse."""
    return step > COLLAPSE_GRACE * steps and diversity < COLLAPSE_FRACTION
