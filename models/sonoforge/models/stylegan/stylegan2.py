"""StyleGAN2's generator: convolutions whose weights the styles scale, and an image summed over resolutions.

Karras et al., "Analyzing and Improving the Image Quality of StyleGAN", CVPR 2020: section 2.2 (modulation and
demodulation), section 4.1 and figure 7b (each resolution adds to the up-sampled image).
Karras et al., "Training Generative Adversarial Networks with Limited Data" (StyleGAN2-ADA), NeurIPS 2020,
appendix D: half precision.

A style scales the input maps of a convolution, so that one set of weights serves the whole batch; dividing by the
expected standard deviation of the result, which the paper writes as a scaling of each image's own weights, then
is one factor for each output map.
"""

from __future__ import annotations

import contextlib
import math

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d

from sonoforge.models.stylegan import layers
from sonoforge.models.stylegan.fir import low_pass, resample, upsample
from sonoforge.models.stylegan.generator import StyledGenerator
from sonoforge.models.stylegan.layers import (
    CLAMP,
    EPSILON,
    GAIN,
    HALF_LEVELS,
    EqualisedLinear,
    activate,
    at_least_single,
    full_precision,
)
from sonoforge.models.stylegan.mapping import MappingNetwork
from sonoforge.models.stylegan.pyramid import sides, widths

NOISES = ("random", "const", "none")

initialise = layers.initialise


class SynthesisLayer(nn.Module):
    """Modulated 3x3 convolution, at most one doubling of the side, noise, bias and activation.

    Args:
        inputs: Input maps.
        outputs: Output maps.
        style_size: Length W of a style.
        side: Of the output maps in pixels.
        up: Whether the side is doubled.
        clamp: Largest absolute value of the result, None for no limit.
    """

    taps: Tensor
    noise: Tensor

    def __init__(
        self, inputs: int, outputs: int, style_size: int, side: int, *, up: bool, clamp: float | None = CLAMP
    ) -> None:
        super().__init__()
        self.affine = EqualisedLinear(style_size, inputs, bias_start=1.0)
        self.weight = nn.Parameter(torch.empty(outputs, inputs, 3, 3))
        self.bias = nn.Parameter(torch.empty(outputs))
        self.noise_strength = nn.Parameter(torch.empty(()))
        self.register_buffer("noise", torch.empty(side, side))
        self.register_buffer("taps", low_pass(), persistent=False)
        self.up = up
        self.clamp = clamp
        self.draw()

    @torch.no_grad()
    def draw(self, chance: torch.Generator | None = None) -> None:
        """Draw the initial values."""
        self.weight.normal_(generator=chance)
        self.bias.zero_()
        self.noise_strength.zero_()
        self.noise.normal_(generator=chance)

    def forward(
        self, maps: Tensor, style: Tensor, noise: str = "const", chance: torch.Generator | None = None
    ) -> Tensor:
        """Compute the next maps.

        Args:
            maps: (N, inputs, H, W).
            style: (N, W).
            noise: ``"random"``, ``"const"`` or ``"none"``.
            chance: Source of random noise, on the maps' device.

        Returns:
            (N, outputs, H', W').
        """
        weight, scales, factors = self._modulation(style)
        maps = maps * scales[:, :, None, None].to(maps.dtype)
        if self.up:
            maps = conv_transpose2d(maps, weight.transpose(0, 1), stride=2)
            maps = resample(maps, self.taps, padding=1, gain=4.0)
        else:
            maps = conv2d(maps, weight, padding=1)
        # Leaky ReLU's gain is included in all that is summed.
        shift = (self.bias * GAIN)[:, None, None]
        if noise != "none":
            shift = shift + self._noise(maps, noise, chance) * (self.noise_strength * GAIN)
        maps = torch.addcmul(shift.to(maps.dtype), maps, (factors * GAIN)[:, :, None, None].to(maps.dtype))
        return activate(maps, self.clamp)

    def _modulation(self, style: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Weights (O, I, 3, 3), scales of the input maps (N, I), and factors of the output maps (N, O).

        Demodulation undoes any factor of an image's scales and of an output's weights.  So both are first
        divided by their largest, without which half precision overflows (2020 ADA, appendix D); and for the
        same reason no gradient passes through the divisors.
        """
        with full_precision(style.device):
            scales: Tensor = self.affine(style)
            scales = scales / _largest(scales)
            weight = self.weight * (1 / (_largest(self.weight) * math.sqrt(self.weight[0].numel())))
            energies = weight.square().sum((2, 3))
            factors = torch.rsqrt(scales.square() @ energies.t() + EPSILON)
        return weight, scales, factors

    def _noise(self, maps: Tensor, noise: str, chance: torch.Generator | None) -> Tensor:
        if noise == "const":
            return self.noise
        shape = (maps.shape[0], 1, *maps.shape[2:])
        return torch.randn(shape, generator=chance, device=maps.device, dtype=self.noise.dtype)


class ToImage(nn.Module):
    """Modulated 1x1 convolution to the channels of an image, without demodulation or activation.

    Args:
        inputs: Input maps.
        channels: Channels C of the image.
        style_size: Length W of a style.
        clamp: Largest absolute value of the result, None for no limit.
    """

    def __init__(self, inputs: int, channels: int, style_size: int, clamp: float | None = CLAMP) -> None:
        super().__init__()
        self.affine = EqualisedLinear(style_size, inputs, bias_start=1.0)
        self.weight = nn.Parameter(torch.empty(channels, inputs, 1, 1))
        self.bias = nn.Parameter(torch.empty(channels))
        self.clamp = clamp
        self.draw()

    @torch.no_grad()
    def draw(self, chance: torch.Generator | None = None) -> None:
        """Draw the initial values."""
        self.weight.normal_(generator=chance)
        self.bias.zero_()

    def forward(self, maps: Tensor, style: Tensor) -> Tensor:
        """(N, inputs, H, W) and (N, W) to (N, C, H, W), at least float32."""
        with full_precision(style.device):
            scales: Tensor = self.affine(style) / math.sqrt(self.weight.shape[1])
            # With so few outputs each image's own weights are the smaller part to scale.
            weights = self.weight[None, :, :, 0, 0] * scales[:, None]
        image = at_least_single(torch.einsum("noi,nihw->nohw", weights.to(maps.dtype), maps))
        image = image + self.bias[:, None, None]
        return image if self.clamp is None else image.clamp(-self.clamp, self.clamp)


class Synthesis(nn.Module):
    """Styles to images, by way of ever larger maps.

    Args:
        image_size: Side S of the square image in pixels: see `pyramid.sides`.
        channels: Channels C of the image.
        style_size: Length W of a style.
        channel_base: Maps of a layer times its side.
        channel_max: Most maps of a layer.
        clamp: Largest absolute value of an activation, None for no limit.

    Attributes:
        num_styles: Number L of styles: one for each layer, and one for the last image.

    Raises:
        ValueError: Another image size.
    """

    taps: Tensor

    def __init__(
        self,
        image_size: int,
        channels: int,
        style_size: int,
        channel_base: int,
        channel_max: int,
        clamp: float | None = CLAMP,
    ) -> None:
        super().__init__()
        resolutions = sides(image_size)
        maps = widths(len(resolutions), channel_base, channel_max)
        self.constant = nn.Parameter(torch.empty(maps[0], resolutions[0], resolutions[0]))
        # 4x4 has one layer; then two each, of which the first doubles the side.
        self.layers = nn.ModuleList(
            [SynthesisLayer(maps[0], maps[0], style_size, resolutions[0], up=False, clamp=clamp)]
        )
        for level in range(1, len(maps)):
            for before, up in ((maps[level - 1], True), (maps[level], False)):
                self.layers.append(
                    SynthesisLayer(before, maps[level], style_size, resolutions[level], up=up, clamp=clamp)
                )
        self.to_image = nn.ModuleList(ToImage(count, channels, style_size, clamp) for count in maps)
        self.num_styles = 2 * len(maps)
        self.register_buffer("taps", low_pass(), persistent=False)
        self.draw()

    @torch.no_grad()
    def draw(self, chance: torch.Generator | None = None) -> None:
        """Draw the initial values."""
        self.constant.normal_(generator=chance)

    def forward(self, styles: Tensor, noise: str = "const", chance: torch.Generator | None = None) -> Tensor:
        """Generate one image for each row of styles.

        Args:
            styles: (N, L, W).
            noise: ``"const"``: each layer's stored noise; ``"random"``: new for each image; ``"none"``.
            chance: Source of random noise, on the styles' device.

        Returns:
            (N, C, S, S) at least float32, in about [-1, 1]; nothing bounds them.

        Raises:
            ValueError: Another noise, or random noise without its source.
        """
        if noise not in NOISES:
            raise ValueError(f"noise: found {noise!r}, expected one of {', '.join(NOISES)}")
        if noise == "random" and chance is None:
            raise ValueError("chance: found None, expected a torch.Generator that random noise is drawn from")
        maps = self.constant.expand(styles.shape[0], -1, -1, -1)
        images: Tensor | None = None
        for level, to_image in enumerate(self.to_image):
            half = level >= len(self.to_image) - HALF_LEVELS
            with contextlib.nullcontext() if half else full_precision(styles.device):
                for index in range(max(2 * level - 1, 0), 2 * level + 1):
                    maps = self.layers[index](maps, styles[:, index], noise, chance)
                image = to_image(maps, styles[:, 2 * level + 1])
            with full_precision(styles.device):
                images = image if images is None else upsample(images, self.taps) + image
        assert images is not None  # noqa: S101 - there is a level
        return images


class Generator(StyledGenerator):
    """Latent vector to image.

    Args:
        image_size: Side S of the square image in pixels: 4 or 7 times a power of two, up to 1024.
        channels: Channels C of the image.
        latent_size: Length Z of the latent vector; the paper: 512.
        classes: Number of classes, 0 for an unconditional generator.
        style_size: Length W of a style; the paper: 512.
        mapping_layers: Layers of the mapping network; the paper: 8; the ADA paper: 2 for small data sets.
        channel_base: Maps of a layer times its side: 32768 in configuration F, half of it in the ADA paper's
            networks for 256x256 and less.
        channel_max: Most maps of a layer.
        mixing: Share of the training images that get the styles of two latents (2019, section 3.1).
        clamp: Largest absolute value of an activation, None for no limit.

    Raises:
        ValueError: Another image size.
    """

    synthesis: Synthesis

    def __init__(
        self,
        image_size: int,
        channels: int,
        latent_size: int,
        classes: int = 0,
        *,
        style_size: int = 512,
        mapping_layers: int = 8,
        channel_base: int = 32768,
        channel_max: int = 512,
        mixing: float = 0.9,
        clamp: float | None = CLAMP,
    ) -> None:
        super().__init__()
        self.latent_size = latent_size
        self.classes = classes
        self.mixing = mixing
        self.synthesis = Synthesis(image_size, channels, style_size, channel_base, channel_max, clamp)
        self.mapping = MappingNetwork(latent_size, classes, style_size, self.synthesis.num_styles, mapping_layers)


def _largest(values: Tensor) -> Tensor:
    """Largest absolute value of each row, without a gradient, in a shape that divides the rows."""
    largest: Tensor = torch.linalg.vector_norm(values.detach().flatten(1), math.inf, 1).clamp(min=EPSILON)
    return largest.reshape(-1, *[1] * (values.ndim - 1))
