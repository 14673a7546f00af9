"""StyleGAN2's generator: convolutions whose weights the styles scale, and an image summed over resolutions.

Karras et al., "Analyzing and Improving the Image Quality of StyleGAN", CVPR 2020: section 2.2 (modulation and
demodulation), section 4.1 and figure 7b (each resolution adds to the up-sampled image).
Karras et al., "Training Generative Adversarial Networks with Limited Data" (StyleGAN2-ADA), NeurIPS 2020,
appendix D: half precision.

A style scales the input channels of a convolution, so that one set of weights serves the whole batch; dividing by the
expected standard deviation of the result, which the paper writes as a scaling of each image's own weights, then
is one factor for each output channel.
"""

import contextlib
import math

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d

from sonoforge.models.architecture import Architecture, from_settings
from sonoforge.models.stylegan.discriminator import Discriminator, ResidualSettings
from sonoforge.models.stylegan.generator import StyledGenerator, StyledSettings
from sonoforge.models.stylegan.layers import (
    CLAMP,
    EPSILON,
    GAIN,
    HALF_LEVELS,
    Drawn,
    EqualisedLinear,
    activate,
    at_least_single,
    binomial_taps,
    channel_options,
    full_precision,
    initialise,
    layer_noise,
    layer_widths,
    sides,
    smooth,
    upsample,
)


class SynthesisLayer(Drawn):
    """Modulated 3x3 convolution, at most one doubling (``up``) to this side, noise, bias and activation."""

    taps: Tensor
    noise: Tensor

    def __init__(self, inputs: int, outputs: int, style_size: int, side: int, *, up: bool) -> None:
        super().__init__()
        self.affine = EqualisedLinear(style_size, inputs, bias_start=1.0)
        self.weight = nn.Parameter(torch.empty(outputs, inputs, 3, 3))
        self.bias = nn.Parameter(torch.empty(outputs))
        self.noise_strength = nn.Parameter(torch.empty(()))
        self.register_buffer("noise", torch.empty(side, side))
        self.register_buffer("taps", binomial_taps(), persistent=False)
        self.up = up
        self.draw()

    def forward(self, maps: Tensor, style: Tensor, chance: torch.Generator | None = None) -> Tensor:
        """(N, inputs, H, W) and style (N, W) to (N, outputs, H', W'); see `layer_noise`."""
        weight, scales, factors = self._modulation(style)
        maps = maps * scales[:, :, None, None].to(maps.dtype)
        if self.up:
            maps = conv_transpose2d(maps, weight.transpose(0, 1), stride=2)
            maps = smooth(maps, self.taps, 1, gain=4.0)
        else:
            maps = conv2d(maps, weight, padding=1)
        # Leaky ReLU's gain is included in all that is summed.
        noise = layer_noise(self.noise, maps, chance)
        shift = (self.bias * GAIN)[:, None, None] + noise * (self.noise_strength * GAIN)
        maps = torch.addcmul(shift.to(maps.dtype), maps, (factors * GAIN)[:, :, None, None].to(maps.dtype))
        return activate(maps, CLAMP)

    def _modulation(self, style: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Weights (O, I, 3, 3), scales of the input channels (N, I), and factors of the output channels (N, O).

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


class ToImage(Drawn):
    """Modulated 1x1 convolution to the channels of an image, without demodulation or activation."""

    def __init__(self, inputs: int, channels: int, style_size: int) -> None:
        super().__init__()
        self.affine = EqualisedLinear(style_size, inputs, bias_start=1.0)
        self.weight = nn.Parameter(torch.empty(channels, inputs, 1, 1))
        self.bias = nn.Parameter(torch.empty(channels))
        self.draw()

    def forward(self, maps: Tensor, style: Tensor) -> Tensor:
        """(N, inputs, H, W) and (N, W) to (N, C, H, W), at least float32."""
        with full_precision(style.device):
            scales: Tensor = self.affine(style) / math.sqrt(self.weight.shape[1])
            # With so few outputs each image's own weights are the smaller part to scale.
            weights = self.weight[None, :, :, 0, 0] * scales[:, None]
        image = at_least_single(torch.einsum("noi,nihw->nohw", weights.to(maps.dtype), maps))
        return (image + self.bias[:, None, None]).clamp(-CLAMP, CLAMP)


class Synthesis(Drawn):
    """Styles to images, through ever larger feature maps."""

    taps: Tensor

    def __init__(self, settings: StyledSettings) -> None:
        super().__init__()
        resolutions, style_size = sides(settings.image_size), settings.style_size
        widths = layer_widths(len(resolutions), settings.channel_base, settings.channel_max)
        self.constant = nn.Parameter(torch.empty(widths[0], resolutions[0], resolutions[0]))
        # 4x4 has one layer; then two each, of which the first doubles the side.
        self.layers = nn.ModuleList([SynthesisLayer(widths[0], widths[0], style_size, resolutions[0], up=False)])
        for level in range(1, len(widths)):
            for before, up in ((widths[level - 1], True), (widths[level], False)):
                self.layers.append(SynthesisLayer(before, widths[level], style_size, resolutions[level], up=up))
        self.to_image = nn.ModuleList(ToImage(width, settings.channels, style_size) for width in widths)
        self.num_styles = 2 * len(widths)  # one for each layer, and one for the last image
        self.register_buffer("taps", binomial_taps(), persistent=False)
        self.draw()

    def forward(self, styles: Tensor, chance: torch.Generator | None = None) -> Tensor:
        """Styles (N, L, W) to images (N, C, S, S), at least float32, in about [-1, 1]: nothing bounds them."""
        maps = self.constant.expand(styles.shape[0], -1, -1, -1)
        images: Tensor | None = None
        for level, to_image in enumerate(self.to_image):
            half = level >= len(self.to_image) - HALF_LEVELS
            with contextlib.nullcontext() if half else full_precision(styles.device):
                for index in range(max(2 * level - 1, 0), 2 * level + 1):
                    maps = self.layers[index](maps, styles[:, index], chance)
                image = to_image(maps, styles[:, 2 * level + 1])
            with full_precision(styles.device):
                images = image if images is None else upsample(images, self.taps) + image
        assert images is not None  # noqa: S101 - there is a level
        return images


class Generator(StyledGenerator):
    """Latent vector to image."""

    synthesis: Synthesis

    def __init__(self, settings: StyledSettings) -> None:
        super().__init__()
        self.assemble(settings, Synthesis(settings))


def _largest(values: Tensor) -> Tensor:
    """Largest absolute value of each row, without a gradient, in a shape that divides the rows."""
    largest: Tensor = torch.linalg.vector_norm(values.detach().flatten(1), math.inf, 1).clamp(min=EPSILON)
    return largest.reshape(-1, *[1] * (values.ndim - 1))


ARCHITECTURES = {
    "stylegan2": Architecture(
        from_settings(Generator, StyledSettings),
        from_settings(Discriminator, ResidualSettings),
        initialise,
        channel_options,
    )
}
