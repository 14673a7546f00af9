"""Noise inputs of StyleGAN1 and 2: one image of noise, added to every feature map of a layer (Karras 2019, section 2).

``"random"`` noise is new for each image, ``"const"`` is stored with the layer, ``"none"`` adds nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor

NOISES = ("random", "const", "none")


def check_noise(noise: str, chance: torch.Generator | None) -> None:
    """Refuse another kind of noise, or random noise without its source.

    Raises:
        ValueError: Either of these.
    """
    if noise not in NOISES:
        raise ValueError(f"noise: found {noise!r}, expected one of {', '.join(NOISES)}")
    if noise == "random" and chance is None:
        raise ValueError("chance: found None, expected a torch.Generator that random noise is drawn from")


def layer_noise(stored: Tensor, maps: Tensor, noise: str, chance: torch.Generator | None) -> Tensor:
    """Return the noise for feature maps (N, C, H, W): the stored (H, W), or random (N, 1, H, W)."""
    if noise == "const":
        return stored
    shape = (maps.shape[0], 1, *maps.shape[2:])
    return torch.randn(shape, generator=chance, device=maps.device, dtype=stored.dtype)
