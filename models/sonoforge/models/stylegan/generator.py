"""Define the mapping network and what the generators of StyleGAN1, 2 and 3 share: latents to styles to images.

Mapping: Karras, Laine, Aila, "A Style-Based Generator Architecture for Generative Adversarial Networks", CVPR 2019,
section 2 (eight fully connected layers), appendices B (truncation) and C (learning rate a hundredth).  Class labels:
Karras et al., "Training Generative Adversarial Networks with Limited Data", NeurIPS 2020, appendix D: embedded with the
length of a style, scaled to a mean square of 1, and appended to the latent.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sonoforge.models.layers import one_hot
from sonoforge.models.stylegan.layers import EqualisedLinear, full_precision, normalise

RATE = 0.01  # learning-rate multiplier (2019, appendix C)


class MappingLayers(nn.Module):
    """Map latents, labels or both to one vector of length ``style_size`` for each image.

    The computation uses full precision even with mixed precision on. A ``latent_size`` of 0 means labels only.
    """

    def __init__(self, latent_size: int, classes: int, style_size: int, layers: int = 8) -> None:
        super().__init__()
        if latent_size == 0 and classes == 0:
            raise ValueError("mapping: there are neither latents nor classes; give at least one of them")
        self.latent_size = latent_size
        self.classes = classes
        self.embedding = EqualisedLinear(classes, style_size) if classes else None
        first = latent_size + (style_size if classes else 0)
        self.layers = nn.Sequential(*(
            EqualisedLinear(style_size if index else first, style_size, activated=True, rate=RATE)
            for index in range(layers)
        ))  # fmt: skip

    def forward(self, latents: Tensor | None, labels: Tensor | None = None) -> Tensor:
        """Map latents (N, Z) and labels, (N,) int64 or (N, K) float weights of the classes, to (N, W) float32."""
        own = next(self.parameters())
        with full_precision(own.device):
            parts = [] if latents is None else [normalise(latents.to(own.dtype))]
            if self.embedding is not None:
                if labels is None or labels.ndim == 1:
                    labels = one_hot(labels, self.classes, own.dtype)
                parts.append(normalise(self.embedding(labels.to(own.dtype))))
            vectors: Tensor = self.layers(torch.cat(parts, 1))
        return vectors


class MappingNetwork(MappingLayers):
    """Map latents and labels to the ``num_styles`` styles of all layers of a synthesis network.

    ``average_decay`` is the weight of the old average when a batch is added: 0.998 in StyleGAN2 and 3, 0.995 in 1.
    """

    average: Tensor  # (W,) moving average of the mapped vectors, towards which styles are truncated

    def __init__(
        self,
        latent_size: int,
        classes: int,
        style_size: int,
        num_styles: int,
        layers: int = 8,
        average_decay: float = 0.998,
    ) -> None:
        super().__init__(latent_size, classes, style_size, layers)
        self.num_styles = num_styles
        self.average_decay = average_decay
        self.register_buffer("average", torch.zeros(style_size))

    def forward(
        self,
        latents: Tensor | None,
        labels: Tensor | None = None,
        truncation_psi: float | Tensor = 1.0,
        update_average: bool = False,
    ) -> Tensor:
        """Map each latent to styles (N, L, W), all the same, and perhaps truncated (2019, appendix B).

        Args:
            latents: See `MappingLayers.forward`.
            labels: See `MappingLayers.forward`.
            truncation_psi: Share of the distance from the average to keep: 1 all, 0 none, below 0 beyond it. In a
                traced network, a tensor that broadcasts against the styles.
            update_average: Whether this batch moves ``average`` first.
        """
        vectors = super().forward(latents, labels)
        if update_average:
            with torch.no_grad():
                self.average.lerp_(vectors.mean(0), 1 - self.average_decay)
        styles = vectors[:, None].expand(-1, self.num_styles, -1)
        if not isinstance(truncation_psi, Tensor) and truncation_psi == 1:
            return styles
        truncated: Tensor = self.average.lerp(styles, truncation_psi)
        return truncated


def has_styles(generator: nn.Module) -> bool:
    """Whether a mapping network maps its latents to styles, as in StyleGAN."""
    return isinstance(getattr(generator, "mapping", None), MappingNetwork)


def mix_styles(
    mapping: MappingNetwork, styles: Tensor, labels: Tensor | None, share: float, chance: torch.Generator
) -> Tensor:
    """Give a ``share`` of images the fine styles of a second latent (2019, section 3.1: mixing regularisation).

    Styles are (N, L, W) of the first latents; ``chance`` is on their device. The first exchanged style is uniform on
    1 to L - 1.
    """
    if share == 0:
        return styles
    count, number, _ = styles.shape
    latents = torch.randn(count, mapping.latent_size, generator=chance, device=styles.device)
    first_fine = 1 + (torch.rand(count, 1, generator=chance, device=styles.device) * (number - 1)).floor()
    mixed = torch.rand(count, 1, generator=chance, device=styles.device) < share
    fine = torch.arange(number, device=styles.device) >= first_fine
    return torch.where((fine & mixed)[:, :, None], mapping(latents, labels), styles)


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
    """Map a latent vector to an image, through a style for each layer; see `StyledSettings`."""

    latent_distribution = "normal"
    latent_size: int
    classes: int
    mixing: float
    mapping: MappingNetwork  # latents and labels to styles
    synthesis: nn.Module  # styles to images

    def assemble(self, settings: StyledSettings, synthesis: nn.Module, average_decay: float = 0.998) -> None:
        """Put a synthesis network, which has ``num_styles``, after a new mapping network."""
        self.latent_size = settings.latent_size
        self.classes = settings.classes
        self.mixing = settings.mixing
        self.synthesis = synthesis
        styles: int = synthesis.num_styles  # type: ignore[assignment]
        self.mapping = MappingNetwork(
            self.latent_size, self.classes, settings.style_size, styles, settings.mapping_layers, average_decay
        )

    def forward(
        self,
        latents: Tensor,
        labels: Tensor | None = None,
        *,
        chance: torch.Generator | None = None,
        update_average: bool = False,
        truncation_psi: float | Tensor = 1.0,
    ) -> Tensor:
        """Generate one image for each latent vector (N, Z): (N, C, S, S) in about [-1, 1], unbounded.

        ``chance`` is a source of random numbers on the latents' device: with it, as in training, styles are mixed and
        any noise is random; without it, each latent gives one image.  ``update_average``: this batch moves the average
        style, and in StyleGAN3 the layers' magnitudes.  See `MappingNetwork.forward`.
        """
        styles = self.mapping(latents, labels, truncation_psi, update_average)
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
