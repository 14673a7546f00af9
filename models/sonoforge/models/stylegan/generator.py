"""What the generators of StyleGAN1, 2 and 3 have in common: latents to styles to images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sonoforge.models.stylegan.mapping import MappingNetwork, mix_styles


@dataclass(frozen=True)
class StyledSettings:
    """Size of a generator with styles; the defaults are those published for StyleGAN2.

    Attributes:
        image_size: Side S of the square image in pixels: 4 or 7 times a power of two, 8 to 1024.
        channels: Channels C of the image.
        latent_size: Length Z of the latent vector; the papers: 512.
        classes: Number K of classes, 0 for an unconditional generator.
        style_size: Length W of a style; the papers: 512.
        mapping_layers: Number of layers of the mapping network; the ADA paper: 2 for small data sets.
        channel_base: Channels of a layer times its side: 32768 in configuration F, half of it in the ADA paper's
            networks for 256x256 and less.
        channel_max: Largest number of channels of a layer.
        mixing: Share of the training images that get the styles of two latents (Karras et al., 2019, section 3.1).
    """

    image_size: int
    channels: int
    latent_size: int
    classes: int = 0
    style_size: int = 512
    mapping_layers: int = 8
    channel_base: int = 32768
    channel_max: int = 512
    mixing: float = 0.9


class StyledGenerator(nn.Module):
    """Latent vector to image, through a style for each layer.

    Attributes:
        latent_size: See `StyledSettings`, as for ``classes`` and ``mixing``.
        mapping: Latents and labels to styles.
        synthesis: Styles to images.
    """

    latent_distribution = "normal"
    latent_size: int
    classes: int
    mixing: float
    mapping: MappingNetwork
    synthesis: nn.Module

    def assemble(self, settings: StyledSettings, synthesis: nn.Module, average_decay: float = 0.998) -> None:
        """Put a synthesis network, which has ``num_styles``, behind a new mapping network.

        Args:
            settings: Of the generator.
            synthesis: Styles to images.
            average_decay: See `MappingNetwork`.
        """
        self.latent_size = settings.latent_size
        self.classes = settings.classes
        self.mixing = settings.mixing
        self.synthesis = synthesis
        self.mapping = MappingNetwork(
            settings.latent_size,
            settings.classes,
            settings.style_size,
            num_styles=int(synthesis.num_styles),  # type: ignore[arg-type]
            layers=settings.mapping_layers,
            average_decay=average_decay,
        )

    def forward(
        self,
        latents: Tensor,
        labels: Tensor | None = None,
        *,
        chance: torch.Generator | None = None,
        update_average: bool = False,
        truncation_psi: float | Tensor = 1.0,
        truncation_cutoff: int | None = None,
    ) -> Tensor:
        """Generate one image for each latent vector.

        Args:
            latents: (N, Z) float, standard normal.
            labels: (N,) int64 or (N, K) float, for a conditional generator.
            chance: Source of random numbers, on the latents' device: with it, as in training, styles are mixed and
                noise, where the network adds any, is random; without it, each latent has one image.
            update_average: Whether this batch moves the average style, and in StyleGAN3 the layers' magnitudes.
            truncation_psi: See `MappingNetwork`.
            truncation_cutoff: See `MappingNetwork`.

        Returns:
            (N, C, S, S) float in about [-1, 1]: nothing bounds them, as in the papers.
        """
        styles = self.mapping(latents, labels, truncation_psi, truncation_cutoff, update_average)
        if chance is not None:
            styles = mix_styles(self.mapping, styles, labels, self.mixing, chance)
        return self.synthesise(styles, chance, update_average=update_average)

    def synthesise(
        self, styles: Tensor, chance: torch.Generator | None = None, *, update_average: bool = False
    ) -> Tensor:
        """Generate one image for each row of styles: (N, L, W) to (N, C, S, S).

        Args:
            styles: (N, L, W).
            chance: Source of random noise, on the styles' device; None: each layer's stored noise.
            update_average: Whether this batch moves what the synthesis network averages.
        """
        del update_average  # only StyleGAN3 uses it
        images: Tensor = self.synthesis(styles) if chance is None else self.synthesis(styles, "random", chance)
        return images
