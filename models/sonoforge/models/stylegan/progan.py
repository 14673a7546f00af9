"""ProGAN: both networks grow from 4x4 to the full size during training.

Karras, Aila, Laine, Lehtinen, "Progressive Growing of GANs for Improved Quality, Stability, and
Variation", ICLR 2018.  Table 2: layers and widths.  Section 2: growing, with each new block faded in.
Section 3: minibatch standard deviation.  Section 4.1: equalised learning rate.  Section 4.2: pixel
normalisation.  Appendix A.1: LeakyReLU 0.2, weights from N(0, 1), biases 0, latents on the unit
hypersphere (here of radius root of Z: pixel normalisation), up-sampling by the nearest neighbour,
down-sampling by averaging.

Whatever the stage, images go in and out at the full size: a small generator's output is up-sampled, and a small
discriminator averages its input down first.  So a training loop only calls ``set_stage`` on both networks and on the
averaged generator, and passes real images through `Discriminator.fade` (section 2).

224 starts from 7x7 with the widths of 4x4.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv2d, interpolate, leaky_relu

from sonoforge.models import smallest_side
from sonoforge.models.layers import Architecture, ScoredLayers, ScoreHead, append_labels
from sonoforge.models.stylegan import layers
from sonoforge.models.stylegan.layers import normalise

WIDTH = 512  # widest layer in table 2


class Growing(nn.Module):
    """A network with a stage, full-grown at first; the stage is part of the state dict.

    It starts with sides of ``base`` pixels, doubled any number of times up to the image's.
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


class GrowingDiscriminator(Growing, ScoredLayers):
    """A discriminator that grows."""

    from_image: nn.ModuleList  # for each side from the base on, the layer that an image enters by
    blocks: nn.ModuleList  # each halves the side; the first ones, as many as there are below the base, are always used

    def descend(self, images: Tensor) -> Tensor:
        """Turn images (N, C, S, S) in [-1, 1] into the smallest maps, through all blocks in use."""
        images = avg_pool2d(images, self.image_size // self.resolution)
        maps: Tensor = self.from_image[self.level](images)
        used = list(self.blocks)[: self.level + 1 + len(self.blocks) - len(self.from_image)]
        for number, block in enumerate(reversed(used)):
            maps = block(maps)
            if number == 0 and self.level and self.alpha < 1:
                maps = torch.lerp(self.from_image[self.level - 1](avg_pool2d(images, 2)), maps, self.alpha)
        return maps

    def fade(self, images: Tensor) -> Tensor:
        """Blend real images (N, C, S, S) with their half-size form, as the generator does in this stage."""
        if self.alpha == 1 or self.level == 0:
            return images
        coarse = avg_pool2d(images, 2 * self.image_size // self.resolution)
        return torch.lerp(interpolate(coarse, self.image_size), images, self.alpha)


def _widths(levels: int, width: int) -> list[int]:
    """Return the channels at 4x4, 8x8, ...: 512 up to 32x32, then halved with each doubling (table 2)."""
    return [min(width, 4096 >> level) for level in range(levels + 1)]


class EqualisedConv2d(layers.Drawn):
    """A convolution whose weights are stored as N(0, 1) and scaled at each pass (section 4.1).

    ``gain`` is the standard deviation of the output for normal input: He's constant if a rectifier follows (He, Zhang,
    Ren, Sun, ICCV 2015, section 2.2), otherwise 1.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, padding: int, gain: float = layers.GAIN) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.empty(outputs))
        self.padding = padding
        self.scale = gain / math.sqrt(inputs * kernel * kernel)
        self.draw()

    def forward(self, maps: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, outputs, H', W')."""
        return conv2d(maps, self.weight * self.scale, self.bias, padding=self.padding)


def pixel_norm(maps: Tensor) -> Tensor:
    """Scale each pixel's feature vector, along dimension 1, to a mean square of 1 (section 4.2)."""
    # In half precision the squares overflow and epsilon is 0.
    return normalise(layers.at_least_single(maps)).to(maps.dtype)


def append_minibatch_std(maps: Tensor, group: int) -> Tensor:
    """Append one map to (N, F, H, W), as `layers.append_minibatch_std` does, for groups of neighbours in the batch.

    If N is not a multiple of ``group``, the groups are smaller and as equal as possible.
    """
    appended = []
    for part in torch.tensor_split(layers.at_least_single(maps), math.ceil(len(maps) / group)):
        # Within the root, epsilon keeps the gradient finite where all images are equal.
        deviation = (part.var(0, correction=0) + layers.EPSILON).sqrt().mean()
        appended.append(deviation.expand(len(part), 1, *maps.shape[2:]))
    return torch.cat([maps, torch.cat(appended).to(maps.dtype)], 1)


class _Activation(nn.Module):
    """LeakyReLU, followed by pixel normalisation in the generator."""

    def __init__(self, *, normalise: bool) -> None:
        super().__init__()
        self.normalise = normalise

    def forward(self, maps: Tensor) -> Tensor:
        activated = leaky_relu(maps, layers.SLOPE)
        return pixel_norm(activated) if self.normalise else activated


class Generator(Growing):
    """Map a latent vector, of length 512 in the paper, to an image; ``width`` is the most channels that a layer has."""

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
        """Map normal latents (N, Z) and, if conditional, labels (N,) int64 to images (N, C, S, S).

        Images are in about [-1, 1]: they are unbounded, as in the paper.
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
    """Map an image to a number, large if it looks real; ``group`` is the minibatch standard deviation's."""

    def __init__(
        self,
        image_size: int,
        channels: int,
        classes: int = 0,
        conditioning: str = "none",
        width: int = WIDTH,
        group: int = layers.GROUP,
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
        self.head = ScoreHead(widths[0], classes, conditioning, layers.EqualisedLinear)

    def features(self, images: Tensor) -> Tensor:
        """Map images (N, C, S, S) in [-1, 1] to features (N, F)."""
        features: Tensor = self.last(append_minibatch_std(self.descend(images), self.group))
        return features


ARCHITECTURES = {"progan": Architecture(Generator, Discriminator, layers.initialise)}
