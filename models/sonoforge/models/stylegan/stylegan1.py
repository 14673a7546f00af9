"""StyleGAN1: a style for each layer sets its maps' mean and spread; both networks grow during training.

Karras, Laine, Aila, "A Style-Based Generator Architecture for Generative Adversarial Networks", CVPR 2019: section 2
and figure 1 (constant input, noise inputs, adaptive instance normalisation), section 3.1 (style mixing), appendix B
(truncation), appendix C (initial values; growing starts from 8x8).  Widths, growing and the discriminator are
ProGAN's (Karras, Aila, Laine, Lehtinen, "Progressive Growing of GANs", ICLR 2018, table 2 and section 2), with maps
resampled by a binomial filter: doubling pixels, then (1, 2, 1), is the filter (1, 3, 3, 1) over samples with zeros
between them.

Train it with the non-saturating loss and R1 with gamma 10, or with WGAN-GP (section 2 and appendix C).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, leaky_relu

from sonoforge.models.layers import Architecture, ScoreHead, from_settings
from sonoforge.models.stylegan import generator, layers, stylegan2

CHANNEL_BASE = 16384  # channels times side: 512 to 32x32, 16 at 1024x1024 (ICLR 2018, table 2)


def adaptive_instance_norm(maps: Tensor, scales: Tensor, shifts: Tensor) -> Tensor:
    """Give each map of (N, C, H, W) the mean and the standard deviation (N, C) of a style (2019, equation 1).

    A negative deviation mirrors the map around its mean.  The result is at least float32.
    """
    centred = layers.at_least_single(maps)
    centred = centred - centred.mean((2, 3), keepdim=True)
    factors = scales[:, :, None, None] * torch.rsqrt(centred.square().mean((2, 3), keepdim=True) + layers.EPSILON)
    return torch.addcmul(shifts[:, :, None, None], centred, factors)


class StyledLayer(layers.Drawn):
    """Optional doubling (``up``) to this side, 3x3 convolution, noise, bias, leaky ReLU, and the style.

    Without input channels there is no convolution: the input is the constant that all images start from.
    """

    noise: Tensor
    taps: Tensor

    def __init__(self, inputs: int, outputs: int, style_size: int, side: int, *, up: bool) -> None:
        super().__init__()
        self.convolution = (
            layers.EqualisedConv2d(inputs, outputs, 3, activated=False, gain=layers.GAIN) if inputs else None
        )
        self.bias = nn.Parameter(torch.empty(outputs))
        self.noise_strength = nn.Parameter(torch.empty(outputs))
        self.scale = layers.EqualisedLinear(style_size, outputs, bias_start=1.0)
        self.shift = layers.EqualisedLinear(style_size, outputs)
        self.register_buffer("noise", torch.empty(side, side))
        self.register_buffer("taps", layers.binomial_taps(), persistent=False)
        self.up = up
        self.draw()

    def forward(self, maps: Tensor, style: Tensor, chance: torch.Generator | None = None) -> Tensor:
        """Map (N, inputs, H, W) and style (N, W) to (N, outputs, H', W'), at least float32; see `layer_noise`."""
        if self.up:
            maps = layers.upsample(maps, self.taps)
        if self.convolution is not None:
            maps = self.convolution(maps)
        with layers.full_precision(style.device):
            noise = layers.layer_noise(self.noise, maps, chance)
            shift = self.bias[:, None, None] + noise * self.noise_strength[:, None, None]
            activated = leaky_relu(layers.at_least_single(maps) + shift, layers.SLOPE)
            return adaptive_instance_norm(activated, self.scale(style), self.shift(style))


class ToImage(layers.Drawn):
    """1x1 convolution to the channels of an image, with bias."""

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        self.convolution = layers.EqualisedConv2d(inputs, channels, 1, activated=False)
        self.bias = nn.Parameter(torch.empty(channels))
        self.draw()

    def forward(self, maps: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, C, H, W), at least float32."""
        return layers.at_least_single(self.convolution(maps)) + self.bias[:, None, None]


class Synthesis(nn.Module):
    """Turn styles into images, through ever larger feature maps."""

    def __init__(self, settings: generator.StyledSettings) -> None:
        super().__init__()
        resolutions = layers.sides(settings.image_size)
        widths = layers.layer_widths(len(resolutions), settings.channel_base, settings.channel_max)
        self.image_size = settings.image_size
        self.level = len(widths) - 1  # doublings from the smallest maps to the side at which it works now
        self.alpha = 1.0  # weight of the newest two layers, 0 to 1
        self.constant = nn.Parameter(torch.ones(widths[0], resolutions[0], resolutions[0]))  # appendix C
        self.layers = nn.ModuleList()
        for level, (side, width) in enumerate(zip(resolutions, widths, strict=True)):
            before = widths[level - 1] if level else 0
            self.layers.append(StyledLayer(before, width, settings.style_size, side, up=level > 0))
            self.layers.append(StyledLayer(width, width, settings.style_size, side, up=False))
        self.to_image = nn.ModuleList(ToImage(width, settings.channels) for width in widths)

    @property
    def num_styles(self) -> int:
        """Number L of styles that it takes now, one for each layer in use."""
        return 2 * (self.level + 1)

    def forward(self, styles: Tensor, chance: torch.Generator | None = None) -> Tensor:
        """Map styles (N, L, W) to images (N, C, S, S), at least float32, in about [-1, 1], unbounded."""
        maps = before = self.constant.expand(styles.shape[0], -1, -1, -1)  # not len: a trace would keep it
        for index in range(self.num_styles):
            if index % 2 == 0:
                before = maps
            maps = self.layers[index](maps, styles[:, index], chance)
        images: Tensor = self.to_image[self.level](maps)
        if self.alpha < 1:
            coarse = interpolate(self.to_image[self.level - 1](before), scale_factor=2)
            images = torch.lerp(coarse, images, self.alpha)
        return images if images.shape[2] == self.image_size else interpolate(images, self.image_size)


class Growing(nn.Module):
    """A network with a stage, full-grown at first; the stage is part of the state dict.

    It starts with sides of ``base`` pixels, doubled any number of times up to the image's.  Whatever the stage, images
    go in and out at the full size: a small generator's output is up-sampled, and a small discriminator averages its
    input down first.  A training loop only calls ``set_stage`` on both networks and on the averaged generator, and
    passes real images through `Discriminator.fade`.
    """

    def __init__(self, base: int, image_size: int) -> None:
        super().__init__()
        self.base = base
        self.image_size = image_size
        self.level = (image_size // base).bit_length() - 1  # doublings from the base to the side of its stage
        self.alpha = 1.0  # weight of the newest layers, 0 to 1

    @property
    def resolution(self) -> int:
        """Side in pixels that the network works at in its current stage."""
        return self.base << self.level

    def set_stage(self, resolution: int, alpha: float) -> None:
        """Choose how far the network has grown: a side in pixels, the base doubled up to the image size.

        ``alpha`` is the weight of the newest layers: 0 before they are added, 1 once they are faded in.
        """
        sides = [self.base << level for level in range((self.image_size // self.base).bit_length())]
        if resolution not in sides:
            raise ValueError(f"resolution: {resolution} is not one of {', '.join(map(str, sides))}")
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha must be 0 to 1, not {alpha}")
        self.level = sides.index(resolution)
        self.alpha = float(alpha)

    def get_extra_state(self) -> Tensor:
        """Return the stage for the state dict: (2,) int64, the side and the bits of alpha as a float64.

        They are integers so that a moving average of the floating-point entries cannot blend stages, and a tensor
        because checkpoint files hold nothing else.
        """
        alpha = torch.tensor([self.alpha], dtype=torch.float64)
        return torch.cat([torch.tensor([self.resolution]), alpha.view(torch.int64)])

    def set_extra_state(self, state: Tensor) -> None:
        """Restore the stage from a state dict."""
        state = state.cpu()
        self.set_stage(int(state[0]), float(state[1:].view(torch.float64)))


@dataclass(frozen=True)
class GeneratorSettings(generator.StyledSettings):
    """Size of a StyleGAN1 generator; the defaults are the published ones."""

    channel_base: int = CHANNEL_BASE


class Generator(generator.StyledGenerator, Growing):
    """Map a latent vector to an image."""

    synthesis: Synthesis

    def __init__(self, settings: GeneratorSettings) -> None:
        super().__init__(layers.sides(settings.image_size)[1], settings.image_size)
        self.assemble(settings, Synthesis(settings), average_decay=0.995)

    def set_stage(self, resolution: int, alpha: float) -> None:
        """Choose how far the network has grown; see `Growing.set_stage`."""
        super().set_stage(resolution, alpha)
        self.synthesis.level = self.level + 1  # which counts from half the base
        self.synthesis.alpha = self.alpha if self.level else 1.0
        self.mapping.num_styles = self.synthesis.num_styles  # so that styles are mixed among layers in use


@dataclass(frozen=True)
class GrowingSettings(stylegan2.DiscriminatorSettings):
    """Size of a StyleGAN1 discriminator, whose conditioning is one of `models.layers.CONDITIONINGS`."""

    channel_base: int = CHANNEL_BASE


class Discriminator(Growing):
    """Map an image to a number, large if it looks real."""

    def __init__(self, settings: GrowingSettings) -> None:
        resolutions = layers.sides(settings.image_size)
        super().__init__(resolutions[1], settings.image_size)
        self.group = settings.group
        widths = layers.layer_widths(len(resolutions), settings.channel_base, settings.channel_max)
        # From 8x8 upwards, like everything that grows.
        self.from_image = nn.ModuleList(layers.EqualisedConv2d(settings.channels, width, 1) for width in widths[1:])
        self.blocks = nn.ModuleList(
            nn.Sequential(
                layers.EqualisedConv2d(widths[level], widths[level], 3),
                layers.EqualisedConv2d(widths[level], below, 3, down=2),
            )
            for level, below in enumerate(widths[:-1], start=1)
        )
        self.last_conv = layers.EqualisedConv2d(widths[0] + 1, widths[0], 3)
        self.last_linear = layers.EqualisedLinear(widths[0] * resolutions[0] ** 2, widths[0], activated=True)
        self.head = ScoreHead(widths[0], settings.classes, settings.conditioning, layers.EqualisedLinear)

    def fade(self, images: Tensor) -> Tensor:
        """Blend real images (N, C, S, S) with their half-size form, as the generator does in this stage."""
        if self.alpha == 1 or self.level == 0:
            return images
        coarse = avg_pool2d(images, 2 * self.image_size // self.resolution)
        return torch.lerp(interpolate(coarse, self.image_size), images, self.alpha)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """See `ScoredLayers.forward`; the last layers run in full precision."""
        images = avg_pool2d(images, self.image_size // self.resolution)
        maps: Tensor = self.from_image[self.level](images)
        for number, block in enumerate(reversed(list(self.blocks)[: self.level + 1])):  # all blocks in use
            maps = block(maps)
            if number == 0 and self.level and self.alpha < 1:
                maps = torch.lerp(self.from_image[self.level - 1](avg_pool2d(images, 2)), maps, self.alpha)
        with layers.full_precision(images.device):
            maps = self.last_conv(layers.append_minibatch_std(layers.at_least_single(maps), self.group))
            answer: tuple[Tensor, Tensor | None] = self.head(self.last_linear(maps.flatten(1)), labels)
        return answer


ARCHITECTURES = {
    "stylegan1": Architecture(
        from_settings(Generator, GeneratorSettings),
        from_settings(Discriminator, GrowingSettings),
        layers.initialise,
        layers.channel_options,
    )
}
