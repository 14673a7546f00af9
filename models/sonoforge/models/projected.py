"""A discriminator that sees images through the feature maps of a frozen network.

Sauer, Chitta, Müller, Geiger, "Projected GANs Converge Faster", NeurIPS 2021.  Section 3.1: maps of four scales of a
network trained on other images, mixed across channels (fixed random 1x1 convolutions) and across scales (fixed random
3x3 convolutions, coarse maps added to finer ones), so that no discriminator can dwell on a few features; one small
discriminator for each scale.  Section 4.3: spectral normalisation, and strided 4x4 convolutions down to one map of
scores.

Decided here: masks, which the frozen network does not know, reach every scale beside its features, rearranged so that
each place of a map has all mask pixels that it covers; classes enter by projection (Miyato and Koyama, ICLR 2018) at
each place of the last maps.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from sonoforge.models import light, smallest_side
from sonoforge.models.architecture import Architecture, from_settings
from sonoforge.models.labels import check_conditioning, one_hot
from sonoforge.models.spade import MapSettings
from sonoforge.models.spectral import convolution, draw_weights, normalised

WIDTH = 32  # half the channels of each mixed map: 64, as in the paper
SLOPE = 0.2
LAST_SIDE = 4  # maps are halved until they are this large or smaller
MASK_SIDE = 4  # mask pixels along each place of a map
CONDITIONINGS = ("none", "projection")


@dataclass(frozen=True)
class DiscriminatorSettings:
    """Size of a discriminator."""

    image_size: int  # side S of the square image in pixels: 32, 64, 128, 224, 256 or 512
    channels: int  # channels of the image and of its masks together
    image_channels: int  # channels of the image: 1 or 3
    classes: int = 0  # number K of classes, 0 for none
    conditioning: str = "none"  # "none" or "projection"
    width: int = WIDTH  # half the channels of each scale's maps
    view: int = 0  # side that images are enlarged to, where they are smaller; 0: none


class _Scale(nn.Module):
    """The discriminator of one scale: mixed maps to one score for each place of its last map."""

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
        """Maps (N, C, s, s), and the class one-hot (N, K), to scores (N, P)."""
        hidden = self.layers(maps)
        scores: Tensor = self.score(hidden)
        if self.class_rows is not None and chosen is not None:
            scores = scores + (self.class_rows(hidden) * chosen[:, :, None, None]).sum(1, keepdim=True)
        return scores.flatten(1)


class Discriminator(nn.Module):
    """Image, and masks, to scores of every place at every scale.

    Args:
        settings: Its size.
        frozen: Images (N, 1 or 3, s, s) in [-1, 1] to feature maps, the finest first; without trainable parameters.
    """

    def __init__(self, settings: DiscriminatorSettings, frozen: nn.Module) -> None:
        super().__init__()
        smallest_side(settings.image_size)
        check_conditioning(settings.conditioning, settings.classes, CONDITIONINGS)
        self.classes = settings.classes if settings.conditioning == "projection" else 0
        self.image_channels = settings.image_channels
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
        """Channels and side of each frozen map."""
        device = next(self.frozen.parameters()).device
        maps = self.frozen(torch.zeros(1, self.image_channels, self.view, self.view, device=device))
        return [(own.shape[1], own.shape[2]) for own in maps]

    def project(self, images: Tensor) -> list[Tensor]:
        """Images (N, 1 or 3, S, S) in [-1, 1] to mixed maps (N, C', s, s), the finest first."""
        if images.shape[2] < self.view:
            images = interpolate(images, (self.view, self.view), mode="bilinear", align_corners=False)
        maps = [mix(own) for mix, own in zip(self.across_channels, self.frozen(images), strict=True)]
        for number in reversed(range(len(maps) - 1)):
            coarse = self.across_scales[number](maps[number + 1])
            side = maps[number].shape[2:]
            maps[number] = maps[number] + interpolate(coarse, side, mode="bilinear", align_corners=False)
        return maps

    def forward(self, samples: Tensor, labels: Tensor | None = None) -> tuple[Tensor, None]:
        """Samples (N, C, S, S) in [-1, 1], image then masks, to scores (N, P) of the places of all scales.

        Labels (N,) int64 are needed by ``"projection"``; there are no class logits.
        """
        chosen = one_hot(labels, self.classes, samples.dtype) if self.classes else None
        masks = samples[:, self.image_channels :]
        scores = []
        for maps, scale in zip(self.project(samples[:, : self.image_channels]), self.scales, strict=True):
            seen = torch.cat([maps, _rearranged(masks, maps.shape[2])], 1) if masks.shape[1] else maps
            scores.append(scale(seen, chosen))
        return torch.cat(scores, 1), None


def _rearranged(masks: Tensor, side: int) -> Tensor:
    """Masks (N, K, S, S) to (N, 16 K, side, side): the 4x4 parts that each place of a map covers."""
    fine = side * MASK_SIDE
    sized = interpolate(masks, (fine, fine), mode="bilinear", align_corners=False, antialias=True)
    return nn.functional.pixel_unshuffle(sized, MASK_SIDE)


def initialise(network: nn.Module, generator: torch.Generator) -> None:
    """Draw the weights: in the discriminator's fixed mixing and scales He's normal ones, elsewhere orthogonal ones."""
    if not isinstance(network, Discriminator):
        draw_weights(network, generator)
        return
    for part in (network.across_channels, network.across_scales, network.scales):
        draw_weights(part, generator, lambda weight: nn.init.kaiming_normal_(weight, SLOPE, generator=generator))


ARCHITECTURES = {
    "projected": Architecture(
        from_settings(light.Generator, MapSettings),
        lambda frozen, **options: Discriminator(DiscriminatorSettings(**options), frozen),
        initialise,
        projected=True,
        needs=("feature network",),
    )
}
