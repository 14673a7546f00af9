"""Latents beyond single draws: truncated, and along paths between two."""

from __future__ import annotations

import torch
from torch import Tensor

from sonoforge.runtime.errors import SonoforgeError


def truncate(latents: Tensor, threshold: float, chance: torch.Generator) -> Tensor:
    """Draw anew every number beyond the threshold until none is (Brock, Donahue, Simonyan, BigGAN, ICLR 2019, 3.1).

    Less diversity for better single images.  Defined for normal latents alone.

    Args:
        latents: (N, Z) standard normal.
        threshold: Above 0; the largest number allowed.
        chance: Source of the new numbers.
    """
    latents = latents.clone()
    while (beyond := latents.abs() > threshold).any():
        latents[beyond] = torch.randn(int(beyond.sum()), generator=chance)
    return latents


def path(first: Tensor, last: Tensor, steps: int, distribution: str) -> Tensor:
    """Latents on the way from one to another, both ends included: see `between`.

    Args:
        first: (Z,).
        last: (Z,).
        steps: Latents, at least 2.
        distribution: ``normal`` or ``uniform``.

    Returns:
        (steps, Z).

    Raises:
        SonoforgeError: Fewer than 2 steps.
    """
    if steps < 2:
        raise SonoforgeError(f"--interpolate: found {steps} images, expected at least 2: both ends")
    return between(first, last, torch.linspace(0, 1, steps), distribution)


def between(first: Tensor, last: Tensor, shares: Tensor, distribution: str) -> Tensor:
    """Latents at given places of the way from one to another.

    Normal latents lie near a sphere, so the way is an arc (White, "Sampling Generative Networks", 2016: slerp); a
    straight line would pass where no latent is ever drawn.  Between uniform ones it is the line.

    Args:
        first: (Z,).
        last: (Z,).
        shares: (T,) of the way, 0 to 1.
        distribution: ``normal`` or ``uniform``.

    Returns:
        (T, Z).
    """
    shares = shares[:, None]
    if distribution == "uniform":
        return torch.lerp(first, last, shares)
    cosine = torch.dot(first, last) / (first.norm() * last.norm())
    angle = torch.arccos(cosine.clamp(-1, 1))
    if angle < 1e-4:
        return torch.lerp(first, last, shares)
    return (torch.sin((1 - shares) * angle) * first + torch.sin(shares * angle) * last) / torch.sin(angle)
