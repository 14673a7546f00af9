"""ProGAN: both networks grow from 4x4 to the full size during training.

Karras, Aila, Laine, Lehtinen, "Progressive Growing of GANs for Improved Quality, Stability, and
Variation", ICLR 2018.  Table 2: layers and widths.  Section 2: growing, with each new block faded in.
Section 3: minibatch standard deviation.  Section 4.1: equalised learning rate.  Section 4.2: pixel
normalisation.  Appendix A.1: LeakyReLU 0.2, weights from N(0, 1), biases 0, latents on the unit
hypersphere (here of radius root of Z: pixel normalisation), up-sampling by the nearest neighbour,
down-sampling by averaging.

Whatever the stage, images go in and out at the full size: a small generator's output is up-sampled,
and a small discriminator averages its input down first.  So a training loop only calls ``set_stage``
on both networks and on the averaged generator; and, where it follows section 2 to the letter, passes
real images through `Discriminator.fade`.  Fresh networks are full-grown.  The stage is part of the
state dict.

224 starts from 7x7 with the widths of 4x4.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv2d, interpolate, leaky_relu, linear

from sonoforge.models.growing import Growing, GrowingDiscriminator
from sonoforge.models.image_sizes import smallest_side
from sonoforge.models.labels import ScoreHead, append_labels

WIDTH = 512  # widest layer in table 2
SLOPE = 0.2
EPSILON = 1e-8  # of pixel normalisation (section 4.2)
# He's constant for the layers that a rectifier follows (section 4.1); 1 for those that none follows
# (He, Zhang, Ren, Sun, "Delving Deep into Rectifiers", ICCV 2015, section 2.2).
RECTIFIER_GAIN = math.sqrt(2)
GROUP = 4  # images in a group of the minibatch standard deviation: the authors' code


def _widths(levels: int, width: int) -> list[int]:
    """Channels at 4x4, 8x8, ...: 512 to 32x32, then halved with each doubling (table 2)."""
    return [min(width, 4096 >> level) for level in range(levels + 1)]


class EqualisedConv2d(nn.Module):
    """A convolution whose weights are stored as N(0, 1) and scaled at each pass (section 4.1).

    Adam divides by a weight's own gradient scale, so only weights of equal scale learn at equal relative rates.

    Args:
        inputs: Input channels.
        outputs: Output channels.
        kernel: Side of the kernel.
        padding: Zeros added on each side.
        gain: Standard deviation of the output for normal input.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, padding: int, gain: float = RECTIFIER_GAIN) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.padding = padding
        self.scale = gain / math.sqrt(inputs * kernel * kernel)

    def forward(self, maps: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H', W')."""
        return conv2d(maps, self.weight * self.scale, self.bias, padding=self.padding)


class EqualisedLinear(nn.Module):
    """A linear layer of the same kind, without a rectifier after it.

    Args:
        inputs: Input features.
        outputs: Output features.
        bias: Whether to add a bias.
    """

    def __init__(self, inputs: int, outputs: int, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self.scale = 1 / math.sqrt(inputs)

    def forward(self, features: Tensor) -> Tensor:
        """(N, inputs) to (N, outputs)."""
        return linear(features, self.weight * self.scale, self.bias)


def _at_least_single(values: Tensor) -> Tensor:
    """In half precision the squares overflow and epsilon is 0."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def pixel_norm(maps: Tensor) -> Tensor:
    """Scale each pixel's feature vector, along dimension 1, to a mean square of 1 (section 4.2)."""
    values = _at_least_single(maps)
    return (values * torch.rsqrt(values.square().mean(1, keepdim=True) + EPSILON)).to(maps.dtype)


def append_minibatch_std(maps: Tensor, group: int) -> Tensor:
    """Append one feature map that measures how much the images of a group differ (section 3).

    The standard deviation over the group, of each feature at each pixel, averaged over features and
    pixels; the same number for all images of the group, everywhere.

    Args:
        maps: (N, F, H, W) float.
        group: Largest number of images in a group.  Neighbours in the batch form one; if N is no multiple of
            it, the groups are smaller and as equal as possible.

    Returns:
        (N, F + 1, H, W) float.
    """
    appended = []
    for part in torch.tensor_split(_at_least_single(maps), math.ceil(len(maps) / group)):
        # Within the root, epsilon keeps the gradient finite where all images are equal.
        deviation = (part.var(0, correction=0) + EPSILON).sqrt().mean()
        appended.append(deviation.expand(len(part), 1, *maps.shape[2:]))
    return torch.cat([maps, torch.cat(appended).to(maps.dtype)], 1)


class _Activation(nn.Module):
    """LeakyReLU; in the generator followed by pixel normalisation."""

    def __init__(self, *, normalise: bool) -> None:
        super().__init__()
        self.normalise = normalise

    def forward(self, maps: Tensor) -> Tensor:
        activated = leaky_relu(maps, SLOPE)
        return pixel_norm(activated) if self.normalise else activated


class Generator(Growing):
    """Latent vector to image.

    Args:
        image_size: Side S of the square image in pixels: 32, 64, 128, 224, 256 or 512.
        channels: Channels C of the image.
        latent_size: Length Z of the latent vector; the paper: 512.
        classes: Number of classes, 0 for an unconditional generator.
        width: Largest number of channels of a layer.

    Raises:
        ValueError: Another image size.
    """

    latent_distribution = "normal"

    def __init__(self, image_size: int, channels: int, latent_size: int, classes: int = 0, width: int = WIDTH) -> None:
        super().__init__(smallest_side(image_size), image_size)
        self.latent_size = latent_size
        self.classes = classes
        widths = _widths(self.level, width)
        self.first = nn.Sequential(
            # The latent vector as an image of one pixel, padded so that each tap of the kernel meets it once.
            EqualisedConv2d(latent_size + classes, widths[0], self.base, padding=self.base - 1),
            _Activation(normalise=True),
            EqualisedConv2d(widths[0], widths[0], 3, padding=1),
            _Activation(normalise=True),
        )
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Upsample(scale_factor=2),
                EqualisedConv2d(widths[level - 1], widths[level], 3, padding=1),
                _Activation(normalise=True),
                EqualisedConv2d(widths[level], widths[level], 3, padding=1),
                _Activation(normalise=True),
            )
            for level in range(1, len(widths))
        )
        self.to_image = nn.ModuleList(EqualisedConv2d(own, channels, 1, padding=0, gain=1.0) for own in widths)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Normal latents (N, Z) and, for a conditional one, labels (N,) int64 to images (N, C, S, S).

        They are in about [-1, 1]: nothing bounds them, as in the paper.
        """
        maps = self.first(append_labels(pixel_norm(latents), labels, self.classes)[:, :, None, None])
        before = maps
        for block in list(self.blocks)[: self.level]:
            before, maps = maps, block(maps)
        images: Tensor = self.to_image[self.level](maps)
        if self.alpha < 1 and self.level:
            images = torch.lerp(interpolate(self.to_image[self.level - 1](before), scale_factor=2), images, self.alpha)
        return images if self.resolution == self.image_size else interpolate(images, self.image_size)


class Discriminator(GrowingDiscriminator):
    """Image to one number: large where the image looks real.

    Args:
        image_size: Side S of the square image in pixels: 32, 64, 128, 224, 256 or 512.
        channels: Channels C of the image.
        classes: Number K of classes, 0 for none.
        conditioning: ``"none"``, ``"projection"`` or ``"auxiliary"``: see `sonoforge.models.labels`.
        width: Largest number of channels of a layer.
        group: Largest number of images in a group of the minibatch standard deviation.

    Raises:
        ValueError: Another image size or conditioning.
    """

    def __init__(
        self,
        image_size: int,
        channels: int,
        classes: int = 0,
        conditioning: str = "none",
        width: int = WIDTH,
        group: int = GROUP,
    ) -> None:
        super().__init__(smallest_side(image_size), image_size)
        self.group = group
        widths = _widths(self.level, width)
        self.from_image = nn.ModuleList(
            nn.Sequential(EqualisedConv2d(channels, own, 1, padding=0), _Activation(normalise=False)) for own in widths
        )
        self.blocks = nn.ModuleList(
            nn.Sequential(
                EqualisedConv2d(widths[level], widths[level], 3, padding=1),
                _Activation(normalise=False),
                EqualisedConv2d(widths[level], widths[level - 1], 3, padding=1),
                _Activation(normalise=False),
                nn.AvgPool2d(2),
            )
            for level in range(1, len(widths))
        )
        self.last = nn.Sequential(
            EqualisedConv2d(widths[0] + 1, widths[0], 3, padding=1),
            _Activation(normalise=False),
            EqualisedConv2d(widths[0], widths[0], self.base, padding=0),
            _Activation(normalise=False),
            nn.Flatten(),
        )
        self.head = ScoreHead(widths[0], classes, conditioning, EqualisedLinear)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Images (N, C, S, S) in [-1, 1] to scores (N,), and class logits (N, K), only for ``"auxiliary"``.

        Labels (N,) int64 are needed only by ``"projection"``.
        """
        images = avg_pool2d(images, self.image_size // self.resolution)
        maps = self.from_image[self.level](images)
        for level in range(self.level, 0, -1):
            maps = self.blocks[level - 1](maps)
            if level == self.level and self.alpha < 1:
                maps = torch.lerp(self.from_image[level - 1](avg_pool2d(images, 2)), maps, self.alpha)
        answer: tuple[Tensor, Tensor | None] = self.head(self.last(append_minibatch_std(maps, self.group)), labels)
        return answer


@torch.no_grad()
def initialise(network: nn.Module, generator: torch.Generator) -> None:
    """Draw the weights from N(0, 1), biases 0.

    Args:
        network: `Generator` or `Discriminator`, changed in place.
        generator: Source of the numbers, on the network's device.
    """
    for module in network.modules():
        if isinstance(module, EqualisedConv2d | EqualisedLinear):
            module.weight.normal_(generator=generator)
            if module.bias is not None:
                module.bias.zero_()
