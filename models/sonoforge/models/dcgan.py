"""DCGAN as published: figure 1 of Radford, Metz, Chintala 2016, generalised to other image sizes.

"Unsupervised Representation Learning with Deep Convolutional Generative Adversarial Networks", ICLR 2016.

The generator is figure 1: the latent vector is projected to 4x4x1024, then four fractionally strided 5x5 convolutions
to 8x8x512, 16x16x256, 32x32x128 and 64x64xC.  The discriminator is its mirror image, as in the authors' code.  Section
3: strides instead of pooling, no hidden dense layers, batch normalisation except on the generator's output and the
discriminator's input, ReLU and tanh in the generator, LeakyReLU in the discriminator.  Section 4: slope 0.2, weights
from N(0, 0.02).

Generalised to other sizes: the largest side keeps its number of channels, 128, and each halving of
the side doubles it, up to the paper's widest, 1024.  So 32 has 512-256-128, 128 has
1024-1024-512-256-128.  224 starts from 7x7.

The paper draws latents uniformly (figure 1); here they are standard normal, as in most later work.
"""

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sonoforge.models import doublings, smallest_side
from sonoforge.models.layers import Architecture, ScoredLayers, ScoreHead, make_activation, make_norm, one_hot

KERNEL = 5
INITIAL_STD = 0.02
WIDTH = 128  # channels at the largest side: figure 1
WIDEST = 1024  # channels at 4x4 in figure 1


def _widths(image_size: int, width: int) -> list[int]:
    """Return the channels at each side except the image's, from the smallest side up."""
    levels = doublings(image_size, smallest_side(image_size))
    return [min(WIDEST, width << level) for level in reversed(range(levels))]


def upsample(inputs: int, outputs: int, stride: int = 2, *, bias: bool) -> nn.ConvTranspose2d:
    """Make a transposed convolution whose output is exactly ``stride`` times the size of its input."""
    return nn.ConvTranspose2d(
        inputs, outputs, KERNEL, stride, padding=KERNEL // 2, output_padding=stride - 1, bias=bias
    )


class Hidden(NamedTuple):
    """The layers after each hidden convolution of either network."""

    # Of `layers.NORMS`; ``"none"`` for a discriminator under a gradient penalty, as the others mix the images of a
    # batch (Gulrajani 2017, section 4).
    norm: str = "batch"
    activation: str = "leaky-relu"  # of `layers.ACTIVATIONS`


GENERATOR_HIDDEN, DISCRIMINATOR_HIDDEN = Hidden(activation="relu"), Hidden()  # as published


def rising(widths: list[int], strides: list[int], hidden: Hidden) -> list[nn.Module]:
    """Make a generator's hidden layers: an `upsample` with its stride leads to each width except the first."""
    layers = [*make_norm(hidden.norm, widths[0]), make_activation(hidden.activation)]
    for (inputs, outputs), stride in zip(pairwise(widths), strides, strict=True):
        layers.append(upsample(inputs, outputs, stride, bias=hidden.norm == "none"))
        layers += [*make_norm(hidden.norm, outputs), make_activation(hidden.activation)]
    return layers


def falling(widths: list[int], hidden: Hidden) -> list[nn.Module]:
    """Make a discriminator's hidden layers: convolutions that halve the side, from each width to the next."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers.append(nn.Conv2d(inputs, outputs, KERNEL, 2, KERNEL // 2, bias=hidden.norm == "none"))
        layers += [*make_norm(hidden.norm, outputs), make_activation(hidden.activation)]
    return layers


class DenseGenerator(nn.Module):
    """Map a latent vector, with a one-hot class, to small maps by a dense layer, then to the image by ``layers``.

    The small maps have sides of ``base`` pixels and ``width`` channels; for the rest see `sonoforge.models`.
    """

    latent_distribution = "normal"
    layers: nn.Sequential

    def __init__(self, base: int, width: int, latent_size: int, classes: int, *, bias: bool = True) -> None:
        super().__init__()
        self.base = base
        self.latent_size = latent_size
        self.classes = classes
        self.dense = nn.Linear(latent_size + classes, base * base * width, bias=bias)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Map latents (N, Z) and, if conditional, labels (N,) int64 to images (N, C, S, S) in about [-1, 1]."""
        if self.classes:
            latents = torch.cat([latents, one_hot(labels, self.classes, latents.dtype)], 1)
        projected: Tensor = self.dense(latents)
        # Height, width, channel: already the channels-last layout in memory.
        maps = projected.unflatten(1, (self.base, self.base, -1)).permute(0, 3, 1, 2)
        images: Tensor = self.layers(maps)
        return images


class Generator(DenseGenerator):
    """Map a latent vector, of length 100 in the paper, to an image.

    ``width`` is the number of channels at the largest hidden side; it doubles at each halving, up to 1024.
    """

    def __init__(
        self,
        image_size: int,
        channels: int,
        latent_size: int,
        classes: int = 0,
        width: int = WIDTH,
        hidden: Hidden = GENERATOR_HIDDEN,
    ) -> None:
        widths = _widths(image_size, width)
        # A normalisation that follows would subtract a bias again.
        super().__init__(smallest_side(image_size), widths[0], latent_size, classes, bias=hidden.norm == "none")
        layers = rising(widths, [2] * (len(widths) - 1), hidden)
        self.layers = nn.Sequential(*layers, upsample(widths[-1], channels, bias=True), nn.Tanh())


class Discriminator(ScoredLayers):
    """Map an image to one logit, which is large if it looks real."""

    def __init__(
        self,
        image_size: int,
        channels: int,
        classes: int = 0,
        conditioning: str = "none",
        width: int = WIDTH,
        hidden: Hidden = DISCRIMINATOR_HIDDEN,
    ) -> None:
        super().__init__()
        widths = _widths(image_size, width)[::-1]
        first = [nn.Conv2d(channels, widths[0], KERNEL, 2, KERNEL // 2), make_activation(hidden.activation)]
        self.layers = nn.Sequential(*first, *falling(widths, hidden), nn.Flatten())
        self.head = ScoreHead(widths[-1] * smallest_side(image_size) ** 2, classes, conditioning)


@torch.no_grad()
def initialise(network: nn.Module, generator: torch.Generator) -> None:
    """Draw the weights: N(0, 0.02), batch-norm scales N(1, 0.02) as in the authors' code, biases 0."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            module.weight.normal_(0.0, INITIAL_STD, generator=generator)
        elif isinstance(module, nn.BatchNorm2d):
            module.weight.normal_(1.0, INITIAL_STD, generator=generator)
        else:
            continue
        if module.bias is not None:
            module.bias.zero_()


# The DCGAN of the MSc thesis behind the balanced classifier (S. H., Middlesex University, 2024): latent 100 -> dense
# 28x28x256 -> transposed convolutions 28x28x128, 56x56x64, 112x112x32 -> 224x224, tanh; the mirror image as
# discriminator; batch normalisation and LeakyReLU in both.  Its drawing of the networks (section 2.3, figure 10) has
# batch normalisation in every layer of the discriminator but the last, so in the first one, too, unlike Radford et al.
#
# What it leaves open follows Radford et al.: kernel 5x5 (figure 1 and the authors' code); slope 0.2 (section 4);
# initial weights (section 4 and the code); no batch normalisation on the generator's output, and of the dense layer
# over its 256 channels, not its 200 704 values (section 3).  Generalised: any image size that is a multiple of 8, any
# number of channels, and classes (the thesis trains a pair of networks for each class).

DOWNSCALE = 8  # three layers of stride 2


def _base_size(image_size: int) -> int:
    if image_size < DOWNSCALE or image_size % DOWNSCALE:
        raise ValueError(f"image_size: {image_size} is not a multiple of {DOWNSCALE}")
    return image_size // DOWNSCALE


class ThesisGenerator(DenseGenerator):
    """Map a latent vector to an image; activation and norm apply to the hidden layers."""

    def __init__(
        self,
        image_size: int = 224,
        channels: int = 3,
        latent_size: int = 100,
        classes: int = 0,
        activation: str = "leaky-relu",
        norm: str = "batch",
    ) -> None:
        super().__init__(_base_size(image_size), 256, latent_size, classes, bias=norm == "none")
        layers = rising([256, 128, 64, 32], [1, 2, 2], Hidden(norm, activation))
        self.layers = nn.Sequential(*layers, upsample(32, channels, bias=True), nn.Tanh())


class ThesisDiscriminator(ScoredLayers):
    """Map an image to one logit, which is large if it looks real.

    The thesis ends in a sigmoid; here it is part of the loss, which keeps precision near 0 and 1.
    """

    def __init__(
        self,
        image_size: int = 224,
        channels: int = 3,
        classes: int = 0,
        conditioning: str = "none",
        activation: str = "leaky-relu",
        norm: str = "batch",
    ) -> None:
        super().__init__()
        self.layers = nn.Sequential(*falling([channels, 32, 64, 128], Hidden(norm, activation)), nn.Flatten())
        self.head = ScoreHead(_base_size(image_size) ** 2 * 128, classes, conditioning)


ARCHITECTURES = {
    "dcgan-thesis": Architecture(ThesisGenerator, ThesisDiscriminator, initialise, free_hidden=("activation", "norm")),
    "dcgan": Architecture(
        lambda norm="batch", activation="relu", **options: Generator(**options, hidden=Hidden(norm, activation)),
        lambda norm="batch", activation="leaky-relu", **options: Discriminator(
            **options, hidden=Hidden(norm, activation)
        ),
        initialise,
        free_hidden=("activation", "norm"),
    ),
}
