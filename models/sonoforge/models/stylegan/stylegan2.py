"""StyleGAN2: styles scale the convolutions' weights, resolutions add up to the image; a residual discriminator.

Karras et al., "Analyzing and Improving the Image Quality of StyleGAN", CVPR 2020: section 2.2 (modulation and
demodulation), section 4.1 and figures 7b (each resolution adds to the up-sampled image) and 7c (residual blocks).
Karras et al., "Training Generative Adversarial Networks with Limited Data" (StyleGAN2-ADA), NeurIPS 2020, appendix D:
half precision; the discriminator's class labels: projection (Miyato and Koyama, ICLR 2018) on an embedding that has its
own mapping network.

A style scales the input channels of a convolution, so one set of weights serves the whole batch. Dividing by the
expected standard deviation of the result, which the paper writes as scaling each image's own weights, is then one
factor for each output channel.
"""

import contextlib
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d

from sonoforge.models.layers import Architecture, check_conditioning, from_settings
from sonoforge.models.stylegan import layers
from sonoforge.models.stylegan.generator import MappingLayers, StyledGenerator, StyledSettings

CONDITIONINGS = ("none", "projection")  # of the residual discriminator


class SynthesisLayer(layers.Drawn):
    """Modulated 3x3 convolution, optional doubling (``up``) to this side, noise, bias and activation."""

    taps: Tensor
    noise: Tensor

    def __init__(self, inputs: int, outputs: int, style_size: int, side: int, *, up: bool) -> None:
        super().__init__()
        self.affine = layers.EqualisedLinear(style_size, inputs, bias_start=1.0)
        self.weight = nn.Parameter(torch.empty(outputs, inputs, 3, 3))
        self.bias = nn.Parameter(torch.empty(outputs))
        self.noise_strength = nn.Parameter(torch.empty(()))
        self.register_buffer("noise", torch.empty(side, side))
        self.register_buffer("taps", layers.binomial_taps(), persistent=False)
        self.up = up
        self.draw()

    def forward(self, maps: Tensor, style: Tensor, chance: torch.Generator | None = None) -> Tensor:
        """Map (N, inputs, H, W) and style (N, W) to (N, outputs, H', W'); see `layer_noise`."""
        weight, scales, factors = self._modulation(style)
        maps = maps * scales[:, :, None, None].to(maps.dtype)
        if self.up:
            maps = conv_transpose2d(maps, weight.transpose(0, 1), stride=2)
            maps = layers.smooth(maps, self.taps, 1, gain=4.0)
        else:
            maps = conv2d(maps, weight, padding=1)
        # Leaky ReLU's gain is included in all that is summed.
        noise = layers.layer_noise(self.noise, maps, chance)
        shift = (self.bias * layers.GAIN)[:, None, None] + noise * (self.noise_strength * layers.GAIN)
        maps = torch.addcmul(shift.to(maps.dtype), maps, (factors * layers.GAIN)[:, :, None, None].to(maps.dtype))
        return layers.activate(maps, layers.CLAMP)

    def _modulation(self, style: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return weights (O, I, 3, 3), scales of the input channels (N, I), and factors of the output channels (N, O).

        Demodulation undoes any factor of an image's scales and of an output's weights.  Both are therefore first
        divided by their largest value, or half precision would overflow (2020 ADA, appendix D). For the same reason no
        gradient passes through the divisors.
        """
        with layers.full_precision(style.device):
            scales: Tensor = self.affine(style)
            scales = scales / _largest(scales)
            weight = self.weight * (1 / (_largest(self.weight) * math.sqrt(self.weight[0].numel())))
            energies = weight.square().sum((2, 3))
            factors = torch.rsqrt(scales.square() @ energies.t() + layers.EPSILON)
        return weight, scales, factors


class ToImage(layers.Drawn):
    """Modulated 1x1 convolution to the channels of an image, without demodulation or activation."""

    def __init__(self, inputs: int, channels: int, style_size: int) -> None:
        super().__init__()
        self.affine = layers.EqualisedLinear(style_size, inputs, bias_start=1.0)
        self.weight = nn.Parameter(torch.empty(channels, inputs, 1, 1))
        self.bias = nn.Parameter(torch.empty(channels))
        self.draw()

    def forward(self, maps: Tensor, style: Tensor) -> Tensor:
        """Map (N, inputs, H, W) and (N, W) to (N, C, H, W), at least float32."""
        with layers.full_precision(style.device):
            scales: Tensor = self.affine(style) / math.sqrt(self.weight.shape[1])
            # With so few outputs each image's own weights are the smaller part to scale.
            weights = self.weight[None, :, :, 0, 0] * scales[:, None]
        image = layers.at_least_single(torch.einsum("noi,nihw->nohw", weights.to(maps.dtype), maps))
        return (image + self.bias[:, None, None]).clamp(-layers.CLAMP, layers.CLAMP)


class Synthesis(layers.Drawn):
    """Turn styles into images, through ever larger feature maps."""

    taps: Tensor

    def __init__(self, settings: StyledSettings) -> None:
        super().__init__()
        resolutions, style_size = layers.sides(settings.image_size), settings.style_size
        widths = layers.layer_widths(len(resolutions), settings.channel_base, settings.channel_max)
        self.constant = nn.Parameter(torch.empty(widths[0], resolutions[0], resolutions[0]))
        # 4x4 has one layer; then two each, of which the first doubles the side.
        self.layers = nn.ModuleList([SynthesisLayer(widths[0], widths[0], style_size, resolutions[0], up=False)])
        for level in range(1, len(widths)):
            for before, up in ((widths[level - 1], True), (widths[level], False)):
                self.layers.append(SynthesisLayer(before, widths[level], style_size, resolutions[level], up=up))
        self.to_image = nn.ModuleList(ToImage(width, settings.channels, style_size) for width in widths)
        self.num_styles = 2 * len(widths)  # one for each layer, and one for the last image
        self.register_buffer("taps", layers.binomial_taps(), persistent=False)
        self.draw()

    def forward(self, styles: Tensor, chance: torch.Generator | None = None) -> Tensor:
        """Map styles (N, L, W) to images (N, C, S, S), at least float32, in about [-1, 1], unbounded."""
        maps = self.constant.expand(styles.shape[0], -1, -1, -1)
        images: Tensor | None = None
        for level, to_image in enumerate(self.to_image):
            half = level >= len(self.to_image) - layers.HALF_LEVELS
            with contextlib.nullcontext() if half else layers.full_precision(styles.device):
                for index in range(max(2 * level - 1, 0), 2 * level + 1):
                    maps = self.layers[index](maps, styles[:, index], chance)
                image = to_image(maps, styles[:, 2 * level + 1])
            with layers.full_precision(styles.device):
                images = image if images is None else layers.upsample(images, self.taps) + image
        assert images is not None  # noqa: S101 - there is a level
        return images


class Generator(StyledGenerator):
    """Map a latent vector to an image."""

    synthesis: Synthesis

    def __init__(self, settings: StyledSettings) -> None:
        super().__init__()
        self.assemble(settings, Synthesis(settings))


def _largest(values: Tensor) -> Tensor:
    """Return the largest absolute value of each row, without a gradient, in a shape that divides the rows."""
    largest: Tensor = torch.linalg.vector_norm(values.detach().flatten(1), math.inf, 1).clamp(min=layers.EPSILON)
    return largest.reshape(-1, *[1] * (values.ndim - 1))


class Block(nn.Module):
    """Two convolutions beside a 1x1 one; they halve the side, and their sum keeps the variance."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        half = math.sqrt(0.5)
        self.first = layers.EqualisedConv2d(inputs, inputs, 3)
        self.second = layers.EqualisedConv2d(inputs, outputs, 3, down=2, gain=half)
        self.skip = layers.EqualisedConv2d(inputs, outputs, 1, activated=False, down=2, gain=half)

    def forward(self, maps: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, outputs, H / 2, W / 2)."""
        result: Tensor = self.skip(maps) + self.second(self.first(maps))
        return result


@dataclass(frozen=True)
class DiscriminatorSettings:
    """Size of a discriminator; the defaults are StyleGAN2's published ones; see `StyledSettings`."""

    image_size: int
    channels: int
    classes: int = 0
    conditioning: str = "none"
    channel_base: int = 32768
    channel_max: int = 512
    group: int = layers.GROUP  # largest number of images in a group of the minibatch standard deviation


@dataclass(frozen=True)
class ResidualSettings(DiscriminatorSettings):
    """Size of the residual discriminator; its conditioning is ``"none"`` or ``"projection"``."""

    mapping_layers: int = 8  # number of layers that map an embedded label


class Discriminator(nn.Module):
    """Map an image to a number, large if it looks real."""

    def __init__(self, settings: ResidualSettings) -> None:
        super().__init__()
        conditioning, classes = settings.conditioning, settings.classes
        check_conditioning(conditioning, classes, CONDITIONINGS)
        self.group = settings.group
        resolutions = layers.sides(settings.image_size)
        widths = layers.layer_widths(len(resolutions), settings.channel_base, settings.channel_max)
        self.from_image = layers.EqualisedConv2d(settings.channels, widths[-1], 1)
        self.blocks = nn.ModuleList(Block(widths[level], widths[level - 1]) for level in range(len(widths) - 1, 0, -1))
        self.last_conv = layers.EqualisedConv2d(widths[0] + 1, widths[0], 3)
        self.last_linear = layers.EqualisedLinear(widths[0] * resolutions[0] ** 2, widths[0], activated=True)
        projecting = conditioning == "projection"
        self.score = layers.EqualisedLinear(widths[0], widths[0] if projecting else 1)
        self.mapping = MappingLayers(0, classes, widths[0], settings.mapping_layers) if projecting else None

    def forward(self, images: Tensor, labels: Tensor | None = None) -> tuple[Tensor, None]:
        """Map images (N, C, S, S) in [-1, 1] to scores (N,), at least float32; and None, as it predicts no class.

        Labels, (N,) int64 or (N, K) float, are needed only by ``"projection"``.
        """
        maps = self.from_image(images)
        for index, block in enumerate(self.blocks):
            half = index < layers.HALF_LEVELS
            with contextlib.nullcontext() if half else layers.full_precision(images.device):
                maps = block(maps if half else layers.at_least_single(maps))
        with layers.full_precision(images.device):
            maps = self.last_conv(layers.append_minibatch_std(layers.at_least_single(maps), self.group))
            features = self.score(self.last_linear(maps.flatten(1)))
            if self.mapping is None:
                return features.squeeze(1), None
            projected = features * self.mapping(None, labels)
            return projected.sum(1) / math.sqrt(projected.shape[1]), None


ARCHITECTURES = {
    "stylegan2": Architecture(
        from_settings(Generator, StyledSettings),
        from_settings(Discriminator, ResidualSettings),
        layers.initialise,
        layers.channel_options,
    )
}
