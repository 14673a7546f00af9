"""What the generators of StyleGAN1, 2 and 3 have in common: latents to styles to images."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sonoforge.models.stylegan.mapping import MappingNetwork, mix_styles


@dataclass(frozen=True)
class StyledSettings:
    """Size of a generator with styles; the defaults are those published for StyleGAN2."""

    image_size: int  # side S of the square image in pixels: 4 or 7 times a power of two, 8 to 1024
    channels: int
    latent_size: int  # the papers: 512
    classes: int = 0
    style_size: int = 512  # length W of a style
    mapping_layers: int = 8  # of the mapping network; the ADA paper: 2 for small data sets
    # Channels of a layer times its side: 32768 in configuration F, half of it in the ADA paper's for 256x256 and less.
    channel_base: int = 32768
    channel_max: int = 512  # largest number of channels of a layer
    mixing: float = 0.9  # share of the training images that get the styles of two latents (2019, section 3.1)


class StyledGenerator(nn.Module):
    """Latent vector to image, through a style for each layer; see `StyledSettings`."""

    latent_distribution = "normal"
    latent_size: int
    classes: int
    mixing: float
    mapping: MappingNetwork  # latents and labels to styles
    synthesis: nn.Module  # styles to images

    def assemble(self, settings: StyledSettings, synthesis: nn.Module, average_decay: float = 0.998) -> None:
        """Put a synthesis network, which has ``num_styles``, behind a new mapping network."""
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
            truncation_psi: See `MappingNetwork.truncate`, as for ``truncation_cutoff``.
            truncation_cutoff: See there.

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
        """Generate one image for each row of styles: (N, L, W) to (N, C, S, S); see `forward`."""
        del update_average  # only StyleGAN3 uses it
        images: Tensor = self.synthesis(styles, chance)
        return images
