"""Scanners mixed inside the network: early maps of one image with the brightness and contrast of another's.

What tells scanners apart (gain, contrast, speckle, filters) is largely the mean and the deviation of each channel of
early maps.  MixStyle (Zhou et al., Domain generalization with MixStyle, ICLR 2021) trains with these moved towards
those of another image of the batch, which may come from another scanner.  Answers are given without.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

_ALPHA = 0.1  # of the Beta distribution of an image's own share; the paper's, mostly near 0 or 1


def mix_styles(maps: Tensor, rng: np.random.Generator) -> Tensor:
    """Give the maps of each image means and deviations between their own and those of another image.

    Args:
        maps: (B, C, H, W).
        rng: Of the shares and of who is mixed with whom.
    """
    exact = maps.float()
    with torch.no_grad():
        mean, deviation = exact.mean((2, 3), keepdim=True), (exact.var((2, 3), keepdim=True) + 1e-6).sqrt()
        share = torch.from_numpy(rng.beta(_ALPHA, _ALPHA, (len(maps), 1, 1, 1)).astype(np.float32)).to(maps.device)
        other = torch.from_numpy(rng.permutation(len(maps))).to(maps.device)
        mixed_mean = share * mean + (1 - share) * mean[other]
        mixed_deviation = share * deviation + (1 - share) * deviation[other]
    mixed = (exact - mean) / deviation * mixed_deviation + mixed_mean
    return mixed.to(maps.dtype).contiguous(memory_format=torch.channels_last)
