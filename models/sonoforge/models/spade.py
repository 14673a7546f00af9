"""SPADE: turn label maps into images, with a normalisation that varies over the map.

Park, Liu, Wang, Zhu, "Semantic Image Synthesis with Spatially-Adaptive Normalization", CVPR 2019.  Section 3 and
figures 2 to 4: the normalisation, its residual block, and a generator that starts from a random vector.  Appendix A:
layers and widths of the generator (a residual block at each side, 64 channels at the image's, doubled at each halving
up to 1024) and of the discriminator (Isola, Zhu, Zhou, Efros, CVPR 2017: patches; Wang et al., CVPR 2018: at two
scales).  The encoder of appendix A is left out.  All weights are spectrally normalised (Miyato, Kataoka, Koyama,
Yoshida, ICLR 2018), except those that make scale and shift, as in the authors' code.

The generator returns image and map as channels of one sample, like a generator of images and masks, so that the same
training and discriminator serve both.  Without a label map, it draws into one that it keeps.

Left open in the paper: padding.  Here the discriminator's patches cover the image evenly, so that both scales weigh the
same in a mean over all scores.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, leaky_relu, relu

from sonoforge.models import doublings, smallest_side
from sonoforge.models.layers import SLOPE, Architecture, check_conditioning, convolution, draw_weights, from_settings

WIDTH = 64  # channels at the image's side (appendix A)
WIDEST = 16  # times the width
HIDDEN = 128  # channels between the map and scale and shift
SCALES = 2
INITIAL_GAIN = 0.02  # of Xavier's normal weights: the authors' code


def _patch_layer(inputs: int, outputs: int, *, stride: int = 1, bias: bool = True) -> list[nn.Module]:
    """Make a 4x4 convolution that keeps or halves the side exactly."""
    # What a kernel of even side lacks at stride 1 is added at the end.
    padding = [] if stride > 1 else [nn.ZeroPad2d((0, 1, 0, 1))]
    return [*padding, convolution(inputs, outputs, 4, stride=stride, bias=bias)]


class SpatiallyAdaptiveNorm(nn.Module):
    """Batch normalisation of ``width`` channels, then scale and shift read from the label map (equations 1 to 3)."""

    def __init__(self, width: int, structures: int, hidden: int = HIDDEN) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(width, affine=False)
        self.shared = nn.Conv2d(structures, hidden, 3, padding=1)
        self.scale = nn.Conv2d(hidden, width, 3, padding=1)
        self.shift = nn.Conv2d(hidden, width, 3, padding=1)

    def forward(self, maps: Tensor, labels: Tensor) -> Tensor:
        """Normalise maps (N, width, H, W) by a label map (N, K, S, S) of any side."""
        hidden = relu(self.shared(interpolate(labels, maps.shape[2:])))
        normalised: Tensor = self.norm(maps) * (1 + self.scale(hidden)) + self.shift(hidden)
        return normalised


class _Block(nn.Module):
    """The residual block of figure 3; its skip is learned where the width changes."""

    def __init__(self, inputs: int, outputs: int, structures: int) -> None:
        super().__init__()
        middle = min(inputs, outputs)
        self.norms = nn.ModuleList([SpatiallyAdaptiveNorm(width, structures) for width in (inputs, middle)])
        self.convolutions = nn.ModuleList([convolution(inputs, middle, 3), convolution(middle, outputs, 3)])
        self.skip_norm = SpatiallyAdaptiveNorm(inputs, structures) if inputs != outputs else None
        self.skip = convolution(inputs, outputs, 1, bias=False) if inputs != outputs else None

    def forward(self, maps: Tensor, labels: Tensor) -> Tensor:
        hidden = maps
        for norm, layer in zip(self.norms, self.convolutions, strict=True):
            hidden = layer(relu(norm(hidden, labels)))
        if self.skip is None or self.skip_norm is None:
            return maps + hidden
        result: Tensor = self.skip(self.skip_norm(maps, labels)) + hidden
        return result


@dataclass(frozen=True)
class MapSettings:
    """Size of a generator that may draw into label maps; see `sonoforge.models`."""

    image_size: int
    channels: int  # channels of the image and of the label map together, C + K
    latent_size: int
    classes: int = 0  # none where the label map is the condition
    structures: int = 0  # channels K of the label map, 0 for none
    maps: int = 0  # number M of label maps that it keeps, see `KeptMaps.keep_maps`
    width: int = WIDTH  # channels are multiples of it


class KeptMaps(nn.Module):
    """A generator that draws into label maps, and keeps some among its weights for use when none is given.

    A map has a channel for each structure, -1 outside and 1 inside; the background has none.  A latent vector chooses
    one of the kept maps, so such a generator can be used like any other. Raise ValueError if label maps leave no
    channels for the image, or if there are classes too.
    """

    latent_distribution = "normal"
    kept: Tensor  # (M, K, S * S / 8) uint8: label maps, a bit a pixel
    bits: Tensor  # (8,) float: the value of each bit of a byte

    def __init__(self, settings: MapSettings) -> None:
        super().__init__()
        self.structures, self.side = settings.structures, settings.image_size
        self.latent_size, self.classes = settings.latent_size, settings.classes
        if self.structures and self.classes:
            raise ValueError(f"classes: the label map is the condition, so there are none, not {self.classes}")
        if self.structures >= settings.channels:
            raise ValueError(f"structures: {self.structures} of {settings.channels} channels leave none to the image")
        kept = torch.zeros(settings.maps, self.structures, self.side**2 // 8, dtype=torch.uint8)
        self.register_buffer("kept", kept)
        self.register_buffer("bits", 2 ** torch.arange(8.0), persistent=False)

    def keep_maps(self, maps: Tensor) -> None:
        """Keep label maps (M, K, S, S) bool, a bit a pixel."""
        bits = maps.flatten(2).unflatten(2, (-1, 8)).to(self.bits)
        self.kept.copy_((bits * self.bits).sum(3).to(torch.uint8))

    def choose_maps(self, latents: Tensor) -> Tensor:
        """Return a kept label map (N, K, S, S), -1 or 1, for each latent, by the quantile of its first number."""
        count = len(self.kept)
        if not count:
            raise ValueError(f"maps: the network draws into label maps; give (N, {self.structures}, S, S)")
        quantiles = (1 + torch.erf(latents[:, 0] / math.sqrt(2))) / 2
        chosen = self.kept.index_select(0, (quantiles * count).long().clamp(0, count - 1))
        bits = torch.remainder(torch.floor(chosen.float()[..., None] / self.bits), 2)
        maps: Tensor = (2 * bits - 1).flatten(2).unflatten(2, (self.side, self.side))
        return maps.to(latents.dtype)


class Generator(KeptMaps):
    """Map a latent vector, of length 256 in the paper, and a label map to an image; there are no classes."""

    def __init__(self, settings: MapSettings) -> None:
        super().__init__(settings)
        image_size, latent_size, structures = settings.image_size, settings.latent_size, settings.structures
        self.base = smallest_side(image_size)
        levels = range(doublings(image_size, self.base) + 1)
        widths = [settings.width * min(WIDEST, 1 << level) for level in reversed(levels)]  # at each side, upwards
        self.first = nn.Linear(latent_size, widths[0] * self.base**2)
        self.blocks = nn.ModuleList([
            _Block(inputs, outputs, structures) for inputs, outputs in pairwise([widths[0], *widths])
        ])  # fmt: skip
        self.last = nn.Conv2d(widths[-1], settings.channels - structures, 3, padding=1)

    def forward(self, latents: Tensor, labels: Tensor | None = None, maps: Tensor | None = None) -> Tensor:
        """Draw an image into each label map (N, K, S, S) float; the default is kept ones, see `choose_maps`.

        Latents are (N, Z) float, normal; there are no classes. Return (N, C + K, S, S): the images in [-1, 1], then the
        label maps.
        """
        del labels
        if maps is None:
            maps = self.choose_maps(latents)
        inside = (maps + 1) / 2
        hidden: Tensor = self.first(latents).unflatten(1, (-1, self.base, self.base))
        for number, block in enumerate(self.blocks):
            hidden = block(interpolate(hidden, scale_factor=2) if number else hidden, inside)
        drawn = self.last(leaky_relu(hidden, SLOPE)).tanh()
        return torch.cat([drawn, maps], 1)


class _Patches(nn.Module):
    """The discriminator of one scale, with a score for each patch of 70 pixels."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        widths = [width << level for level in range(4)]
        layers: list[nn.Module] = [nn.Sequential(*_patch_layer(channels, widths[0], stride=2), nn.LeakyReLU(SLOPE))]
        for number, (inputs, outputs) in enumerate(pairwise(widths), start=1):
            layer = _patch_layer(inputs, outputs, stride=1 if number == len(widths) - 1 else 2, bias=False)
            layers.append(nn.Sequential(*layer, nn.InstanceNorm2d(outputs), nn.LeakyReLU(SLOPE)))
        self.layers = nn.ModuleList(layers)
        self.score = nn.Sequential(*_patch_layer(widths[-1], 1))

    def forward(self, samples: Tensor) -> list[Tensor]:
        """Turn samples (N, C, S, S) into the maps of each hidden layer, and finally the scores (N, 1, S/8, S/8)."""
        maps = [samples]
        for layer in self.layers:
            maps.append(layer(maps[-1]))
        return [*maps[1:], self.score(maps[-1])]


class Discriminator(nn.Module):
    """Score patches of an image and label map, as channels of one sample: high if real and fitting the map."""

    def __init__(
        self, image_size: int, channels: int, classes: int = 0, conditioning: str = "none", width: int = WIDTH
    ) -> None:
        super().__init__()
        smallest_side(image_size)
        check_conditioning(conditioning, classes, ("none",))  # the label map is the condition
        self.scales = nn.ModuleList([_Patches(channels, width) for _ in range(SCALES)])

    def feature_maps(self, samples: Tensor) -> list[list[Tensor]]:
        """Turn samples (N, C, S, S) in [-1, 1] into each scale's hidden maps, then its scores, full side first."""
        found = []
        for scale in self.scales:
            found.append(scale(samples))
            samples = avg_pool2d(samples, 2)
        return found

    def forward(self, samples: Tensor, labels: Tensor | None = None) -> tuple[Tensor, None]:
        """Turn samples (N, C, S, S) in [-1, 1] into scores (N, 2, P) of P patches at each scale; no class logits.

        At half the side a patch covers four of the full one's, so its score appears there four times.
        """
        del labels
        scores = [maps[-1] for maps in self.feature_maps(samples)]
        side = scores[0].shape[2:]
        return torch.cat([interpolate(score, side).flatten(2) for score in scores], 1), None


def initialise(network: nn.Module, generator: torch.Generator) -> None:
    """Draw the weights: Xavier's normal ones with a gain of 0.02, as in the authors' code; biases are 0."""
    draw_weights(network, generator, lambda weight: nn.init.xavier_normal_(weight, INITIAL_GAIN, generator=generator))


ARCHITECTURES = {"spade": Architecture(from_settings(Generator, MapSettings), Discriminator, initialise)}
