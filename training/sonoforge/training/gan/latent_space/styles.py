"""The two halves of a generator with styles, run separately, and images with the styles of two latents."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sonoforge.training.gan.generator import CPU_BATCH, generate, label_batch

BANDS = ("coarse", "middle", "fine")


def generate_labelled(generator: nn.Module, latents: Tensor, label: int | None) -> Tensor:
    """Generate images of one class, or of an unconditional generator: (N, Z) to (N, C, S, S)."""
    device = next(generator.parameters()).device
    labels = label_batch(generator, label, len(latents))
    return generate(generator, latents.to(device), None if labels is None else labels.to(device))


@torch.no_grad()
def map_latents(generator: nn.Module, latents: Tensor, label: int | None) -> Tensor:
    """Return the styles of latents (N, Z): (N, L, W) on the generator's device."""
    device = next(generator.parameters()).device
    labels = label_batch(generator, label, len(latents))
    styles: Tensor = generator.mapping(latents.to(device), None if labels is None else labels.to(device))  # type: ignore[operator]
    return styles


@torch.no_grad()
def synthesise(generator: nn.Module, styles: Tensor) -> Tensor:
    """Generate images from styles (N, L, W): (N, C, S, S) on the generator's device."""
    parts = styles.to(next(generator.parameters()).device).split(CPU_BATCH)
    return torch.cat([generator.synthesis(part) for part in parts])  # type: ignore[operator]


def style_bands(number: int) -> dict[str, tuple[int, int]]:
    """Divide the styles into thirds: the begin and end (exclusive) of the coarse, the middle and the fine ones.

    In Karras 2019, figure 3, the first 4 of 18 styles are coarse and the next 4 middle, which would leave no fine
    ones in a network for images of 32 pixels.
    """
    edges = [round(number * third / 3) for third in range(4)]
    return {band: (edges[index], edges[index + 1]) for index, band in enumerate(BANDS)}


def mix_bands(styles: Tensor, sources: Tensor, begin: int, end: int) -> Tensor:
    """Give images the styles ``begin`` to ``end`` (exclusive) of the sources: (N, L, W) twice to (N, L, W)."""
    return torch.cat([styles[:, :begin], sources[:, begin:end], styles[:, end:]], 1)
