"""Projected GAN: a light generator, judged through the feature maps of a frozen network.

The generator: Liu, Zhu, Song, Elgammal, "Towards Faster and Stabilized GAN Training for High-fidelity Few-shot Image
Synthesis" (FastGAN), ICLR 2021, section 3.1 and figure 3: gated linear units, batch and spectral normalisation, and
skip-layer excitation, where maps gate the channels of maps 16 times as large.  One convolution at each side:  Sauer,
Chitta, Müller, Geiger, "Projected GANs Converge Faster", NeurIPS 2021 (appendix, FastGAN-lite).  Here no noise is added
to the maps, so that a seed draws the same image in every exported format; classes enter by conditional batch
normalisation; and it may draw into label maps, with SPADE's normalisation (CVPR 2019) in place of the batch's.

The discriminator: Sauer 2021.  Section 3.1: maps of four scales of a network trained on other images, mixed across
channels (fixed random 1x1 convolutions) and across scales (fixed random 3x3 convolutions, coarse maps added to finer
ones), so that no discriminator can dwell on a few features; one small discriminator for each scale.  Section 4.3:
spectral normalisation, and strided 4x4 convolutions down to one map of scores.  Decided here: masks, which the frozen
network cannot read, join its features at every scale, rearranged so that each place of a map has all the mask pixels
that it covers; classes enter by projection (Miyato and Koyama, ICLR 2018) at each place of the last maps.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, interpolate, silu

from sonoforge.models import doublings, smallest_side
from sonoforge.models.layers import (
    SLOPE,
    Architecture,
    ConditionalBatchNorm,
    GatedUp,
    check_conditioning,
    convolution,
    draw_weights,
    from_settings,
    normalised,
    one_hot,
)
from sonoforge.models.spade import KeptMaps, MapSettings, SpatiallyAdaptiveNorm

CHANNELS = (16, 8, 4, 2, 2, 1, 0.5, 0.25)  # times the width, at the smallest maps and after each doubling: its code
REACH = 4  # doublings from gating maps to gated ones (section 3.1)
MAP_FEATURES = 32  # channels between a label map and its scales and shifts


class _SkipLayerExcitation(nn.Module):
    """Gate the channels of fine maps with coarse ones (section 3.1, equation 1)."""

    def __init__(self, coarse: int, fine: int) -> None:
        super().__init__()
        self.gather = normalised(nn.Conv2d(coarse, fine, 4, bias=False))
        self.gate = normalised(nn.Conv2d(fine, fine, 1, bias=False))

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        pooled = coarse if coarse.shape[2] == 4 else adaptive_avg_pool2d(coarse, 4)
        gated: Tensor = fine * self.gate(silu(self.gather(pooled))).sigmoid()
        return gated


class Generator(KeptMaps):
    """Map a latent vector, and a class or label map, to an image; channels are `CHANNELS` times the width."""

    def __init__(self, settings: MapSettings) -> None:
        super().__init__(settings)
        image_size, structures = settings.image_size, settings.structures
        base = smallest_side(image_size)
        widths = [max(1, round(settings.width * share)) for share in CHANNELS[: doublings(image_size, base) + 1]]
        # The class enters with the latents, too.
        self.first = nn.Sequential(
            normalised(nn.ConvTranspose2d(settings.latent_size + settings.classes, 2 * widths[0], base, bias=False)),
            nn.BatchNorm2d(2 * widths[0]),
            nn.GLU(1),
        )
        norm: Callable[[int], nn.Module] = nn.BatchNorm2d
        if settings.classes:
            norm = partial(ConditionalBatchNorm, condition=settings.classes)
        if structures:
            norm = partial(SpatiallyAdaptiveNorm, structures=structures, hidden=MAP_FEATURES)
        self.blocks = nn.ModuleList([GatedUp(*pair, norm, bias=False) for pair in pairwise(widths)])
        self.skips = nn.ModuleList([
            _SkipLayerExcitation(coarse, fine) for coarse, fine in zip(widths, widths[REACH:], strict=False)
        ])  # fmt: skip
        self.to_image = convolution(widths[-1], settings.channels - structures, 3)

    def forward(self, latents: Tensor, labels: Tensor | None = None, maps: Tensor | None = None) -> Tensor:
        """Draw images (N, C, S, S) in [-1, 1]; the last K channels are the given label maps.

        See `spade.Generator.forward`; labels (N,) int64 are for networks with classes.
        """
        condition = one_hot(labels, self.classes, latents.dtype) if self.classes else None
        if self.structures and maps is None:
            maps = self.choose_maps(latents)
        # On the sphere, as in the authors' code: only the direction of a latent vector matters.
        vectors = latents * (latents.square().mean(1, keepdim=True) + 1e-8).rsqrt()
        vectors = vectors if condition is None else torch.cat([vectors, condition], 1)
        levels: list[Tensor] = [self.first(vectors[:, :, None, None])]
        drawn_into = condition if maps is None else (maps + 1) / 2
        for number, block in enumerate(self.blocks, start=1):
            hidden = block(levels[-1], drawn_into)
            if number >= REACH:
                hidden = self.skips[number - REACH](levels[number - REACH], hidden)
            levels.append(hidden)
        drawn = self.to_image(levels[-1]).tanh()
        return drawn if maps is None else torch.cat([drawn, maps], 1)


WIDTH = 32  # half the channels of each mixed map: 64, as in the paper
LAST_SIDE = 4  # maps are halved until they are this large or smaller
MASK_SIDE = 4  # mask pixels along each place of a map
CONDITIONINGS = ("none", "projection")


@dataclass(frozen=True)
class DiscriminatorSettings:
    """Size of a discriminator; see `sonoforge.models`."""

    image_size: int
    channels: int  # channels of the image and of its masks together
    image_channels: int  # channels of the image: 1 or 3
    classes: int = 0
    conditioning: str = "none"  # "none" or "projection"
    width: int = WIDTH  # half the channels of each scale's maps
    view: int = 0  # side that images are enlarged to, where they are smaller; 0: none


class _Scale(nn.Module):
    """The discriminator of one scale: maps mixed maps to one score for each place of its last map."""

    def __init__(self, inputs: int, width: int, side: int, classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential()
        while side > LAST_SIDE:
            self.layers.extend([
                normalised(nn.Conv2d(inputs, width, 4, 2, 1, bias=False)), nn.BatchNorm2d(width), nn.LeakyReLU(SLOPE),
            ])  # fmt: skip
            inputs, side = width, side // 2
        self.layers.extend([convolution(inputs, width, 3), nn.LeakyReLU(SLOPE)])
        self.score = convolution(width, 1, 1)
        self.class_rows = convolution(width, classes, 1, bias=False) if classes else None

    def forward(self, maps: Tensor, chosen: Tensor | None) -> Tensor:
        """Turn maps (N, C, s, s), and the one-hot class (N, K), into scores (N, P)."""
        hidden = self.layers(maps)
        scores: Tensor = self.score(hidden)
        if self.class_rows is not None and chosen is not None:
            scores = scores + (self.class_rows(hidden) * chosen[:, :, None, None]).sum(1, keepdim=True)
        return scores.flatten(1)


class Discriminator(nn.Module):
    """Score every place of an image, with its masks, at every scale.

    ``frozen`` maps images (N, 1 or 3, s, s) in [-1, 1] to feature maps, the finest first; it has nothing to train.
    """

    def __init__(self, settings: DiscriminatorSettings, frozen: nn.Module) -> None:
        super().__init__()
        smallest_side(settings.image_size)
        check_conditioning(settings.conditioning, settings.classes, CONDITIONINGS)
        self.classes = settings.classes if settings.conditioning == "projection" else 0
        self.image_channels, self.channels = settings.image_channels, settings.channels
        self.view = max(settings.view, settings.image_size)
        self.frozen = frozen
        width = 2 * settings.width
        shapes = self._shapes()
        self.across_channels = nn.ModuleList([nn.Conv2d(channels, width, 1, bias=False) for channels, _ in shapes])
        self.across_scales = nn.ModuleList([nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in shapes[1:]])
        self.across_channels.requires_grad_(False)
        self.across_scales.requires_grad_(False)
        masks = (settings.channels - settings.image_channels) * MASK_SIDE**2
        self.scales = nn.ModuleList([_Scale(width + masks, width, side, self.classes) for _, side in shapes])

    @torch.no_grad()
    def _shapes(self) -> list[tuple[int, int]]:
        """Return the channels and side of each frozen map."""
        device = next(self.frozen.parameters()).device
        maps = self.frozen(torch.zeros(1, self.image_channels, self.view, self.view, device=device))
        return [(own.shape[1], own.shape[2]) for own in maps]

    def project(self, images: Tensor) -> list[Tensor]:
        """Turn images (N, 1 or 3, S, S) in [-1, 1] into mixed maps (N, C', s, s), the finest first."""
        if images.shape[2] < self.view:
            images = interpolate(images, (self.view, self.view), mode="bilinear", align_corners=False)
        maps = [mix(own) for mix, own in zip(self.across_channels, self.frozen(images), strict=True)]
        for number in reversed(range(len(maps) - 1)):
            coarse = self.across_scales[number](maps[number + 1])
            side = maps[number].shape[2:]
            maps[number] = maps[number] + interpolate(coarse, side, mode="bilinear", align_corners=False)
        return maps

    def forward(self, samples: Tensor, labels: Tensor | None = None) -> tuple[Tensor, None]:
        """Turn samples (N, C, S, S) in [-1, 1], image then masks, into scores (N, P) of the places of all scales.

        Labels (N,) int64 are needed by ``"projection"``; there are no class logits.
        """
        chosen = one_hot(labels, self.classes, samples.dtype) if self.classes else None
        masks = samples[:, self.image_channels : self.channels]
        scores = []
        for maps, scale in zip(self.project(samples[:, : self.image_channels]), self.scales, strict=True):
            seen = torch.cat([maps, _rearranged(masks, maps.shape[2])], 1) if masks.shape[1] else maps
            scores.append(scale(seen, chosen))
        return torch.cat(scores, 1), None


def _rearranged(masks: Tensor, side: int) -> Tensor:
    """Rearrange masks (N, K, S, S) to (N, 16 K, side, side): the 4x4 parts that each place of a map covers."""
    fine = side * MASK_SIDE
    sized = interpolate(masks, (fine, fine), mode="bilinear", align_corners=False, antialias=True)
    return nn.functional.pixel_unshuffle(sized, MASK_SIDE)


def initialise(network: nn.Module, generator: torch.Generator) -> None:
    """Draw the weights: He's normal ones in the discriminator's fixed mixing and scales, orthogonal ones elsewhere."""
    if not isinstance(network, Discriminator):
        draw_weights(network, generator)
        return
    for part in (network.across_channels, network.across_scales, network.scales):
        draw_weights(part, generator, lambda weight: nn.init.kaiming_normal_(weight, SLOPE, generator=generator))


ARCHITECTURES = {
    "projected": Architecture(
        from_settings(Generator, MapSettings),
        lambda frozen, **options: Discriminator(DiscriminatorSettings(**options), frozen),
        initialise,
        projected=True,
        needs=("feature network",),
    )
}
