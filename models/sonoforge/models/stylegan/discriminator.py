"""The residual discriminator that StyleGAN2 and StyleGAN3 share.

Karras et al., "Analyzing and Improving the Image Quality of StyleGAN", CVPR 2020, section 4.1 and figure 7c
(residual blocks), appendix B.  Minibatch standard deviation: Karras et al., "Progressive Growing of GANs", ICLR
2018, section 3.  Class labels: projection (Miyato and Koyama, ICLR 2018) on an embedding that passes a mapping
network of its own (Karras et al., "Training GANs with Limited Data", NeurIPS 2020, appendix D).
"""

import contextlib
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sonoforge.models.labels import check_conditioning
from sonoforge.models.stylegan.generator import MappingLayers
from sonoforge.models.stylegan.layers import (
    EPSILON,
    HALF_LEVELS,
    EqualisedConv2d,
    EqualisedLinear,
    at_least_single,
    full_precision,
    layer_widths,
    sides,
)

CONDITIONINGS = ("none", "projection")
GROUP = 4  # images in a group of the minibatch standard deviation


def append_minibatch_std(maps: Tensor, group: int) -> Tensor:
    """Append one feature map that measures how much the images of a group differ.

    The standard deviation over the group, of each feature at each pixel, averaged over features and pixels;
    the same number for all images of the group, everywhere.

    Args:
        maps: (N, F, H, W) float, at least single precision.
        group: Largest number of images in a group.  Of G groups the first takes images 0, G, 2 G, ... of the batch.

    Returns:
        (N, F + 1, H, W) float.
    """
    groups = math.ceil(len(maps) / group)
    # Within the root, epsilon keeps the gradient finite where all images are equal.
    deviations = [(maps[first::groups].var(0, correction=0) + EPSILON).sqrt().mean() for first in range(groups)]
    of_images = torch.stack(deviations).repeat(group)[: len(maps)]
    return torch.cat([maps, of_images[:, None, None, None].expand(-1, 1, *maps.shape[2:])], 1)


class Block(nn.Module):
    """Two convolutions beside one of 1x1; the side is halved, the sum keeps the variance."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        half = math.sqrt(0.5)
        self.first = EqualisedConv2d(inputs, inputs, 3)
        self.second = EqualisedConv2d(inputs, outputs, 3, down=2, gain=half)
        self.skip = EqualisedConv2d(inputs, outputs, 1, activated=False, down=2, gain=half)

    def forward(self, maps: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H / 2, W / 2)."""
        result: Tensor = self.skip(maps) + self.second(self.first(maps))
        return result


@dataclass(frozen=True)
class DiscriminatorSettings:
    """Size of a discriminator; the defaults are those published for StyleGAN2.

    For the rest see `StyledSettings` and `sonoforge.models`.
    """

    image_size: int
    channels: int
    classes: int = 0
    conditioning: str = "none"
    channel_base: int = 32768
    channel_max: int = 512
    group: int = GROUP  # largest number of images in a group of the minibatch standard deviation


@dataclass(frozen=True)
class ResidualSettings(DiscriminatorSettings):
    """Size of the residual discriminator, whose conditioning is ``"none"`` or ``"projection"``."""

    mapping_layers: int = 8  # number of layers that map an embedded label


class Discriminator(nn.Module):
    """Image to one number: large where the image looks real."""

    def __init__(self, settings: ResidualSettings) -> None:
        super().__init__()
        conditioning, classes = settings.conditioning, settings.classes
        check_conditioning(conditioning, classes, CONDITIONINGS)
        self.group = settings.group
        resolutions = sides(settings.image_size)
        widths = layer_widths(len(resolutions), settings.channel_base, settings.channel_max)
        self.from_image = EqualisedConv2d(settings.channels, widths[-1], 1)
        self.blocks = nn.ModuleList(Block(widths[level], widths[level - 1]) for level in range(len(widths) - 1, 0, -1))
        self.last_conv = EqualisedConv2d(widths[0] + 1, widths[0], 3)
        self.last_linear = EqualisedLinear(widths[0] * resolutions[0] ** 2, widths[0], activated=True)
        projecting = conditioning == "projection"
        self.score = EqualisedLinear(widths[0], widths[0] if projecting else 1)
        self.mapping = MappingLayers(0, classes, widths[0], settings.mapping_layers) if projecting else None

    def forward(self, images: Tensor, labels: Tensor | None = None) -> tuple[Tensor, None]:
        """Images (N, C, S, S) in [-1, 1] to scores (N,), at least float32; and None, as it predicts no class.

        Labels, (N,) int64 or (N, K) float, are needed only by ``"projection"``.
        """
        maps = self.from_image(images)
        for index, block in enumerate(self.blocks):
            half = index < HALF_LEVELS
            with contextlib.nullcontext() if half else full_precision(images.device):
                maps = block(maps if half else at_least_single(maps))
        with full_precision(images.device):
            maps = self.last_conv(append_minibatch_std(at_least_single(maps), self.group))
            features = self.score(self.last_linear(maps.flatten(1)))
            if self.mapping is None:
                return features.squeeze(1), None
            projected = features * self.mapping(None, labels)
            return projected.sum(1) / math.sqrt(projected.shape[1]), None
