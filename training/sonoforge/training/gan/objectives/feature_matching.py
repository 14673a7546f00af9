"""Feature matching: the discriminator should not tell a generated image's maps from those of the real one.

Wang, Liu, Zhu, Tao, Kautz, Catanzaro, "High-Resolution Image Synthesis and Semantic Manipulation with Conditional
GANs", CVPR 2018, equation 4; SPADE (Park 2019) has it too.  Only for samples in pairs, of one label map each.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss


def feature_matching(discriminator: nn.Module, fake: Tensor, real: Tensor) -> Tensor:
    """Mean absolute difference of the hidden maps, summed over the layers of a scale, the mean over scales.

    Args:
        discriminator: With ``feature_maps``: each scale's hidden maps, and last its scores.
        fake: (N, C, S, S) in [-1, 1]; gradients reach it.
        real: (N, C, S, S) in [-1, 1], of the same label maps.

    Returns:
        Scalar, 0 or more.
    """
    own: Any = discriminator
    with torch.no_grad():
        wanted = own.feature_maps(real)
    seen = own.feature_maps(fake)
    scales = [
        torch.stack([l1_loss(a, b) for a, b in zip(maps[:-1], like[:-1], strict=True)]).sum()
        for maps, like in zip(seen, wanted, strict=True)
    ]
    return torch.stack(scales).mean()
