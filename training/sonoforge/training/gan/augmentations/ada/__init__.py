"""The augmentations of ADA (Karras et al., "Training GANs with Limited Data", NeurIPS 2020, appendix B).

Each transformation is applied to each image with probability p, independently of all others; an image for which
none was drawn stays unchanged.  All numbers are those of figures 20 and 21.  Drawing is separate from applying: `draw`
gives numbers for each image, `apply` transforms by them.

The discriminator of the paper's experiments sees pixel blitting, geometric and colour transformations (`BGC`);
filtering and corruptions brought no further gain (section 2.3).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from sonoforge.training.gan.augmentations.ada.bands import BANDS, filter_bands
from sonoforge.training.gan.augmentations.ada.colour import Colour, recolour
from sonoforge.training.gan.augmentations.ada.cutout import Cutout, cut_out
from sonoforge.training.gan.augmentations.ada.geometry import Geometry, transform

BLITTING = ("x_flip", "quarter_turns", "integer_translation")
GEOMETRIC = ("scale", "rotation", "anisotropy", "fractional_translation")
COLOUR = ("brightness", "contrast", "luma_flip", "hue", "saturation")
CORRUPTING = ("noise", "cutout")
BGC = (*BLITTING, *GEOMETRIC, *COLOUR)
FULL = (*BGC, "bands", *CORRUPTING)

INTEGER_TRANSLATION = 0.125  # share of the side at most, either way
SCALE_STD = 0.2  # of the base-2 logarithm
ANISOTROPY_STD = 0.2  # of the base-2 logarithm
FRACTIONAL_TRANSLATION_STD = 0.125  # share of the side
BRIGHTNESS_STD = 0.2
CONTRAST_STD = 0.5  # of the base-2 logarithm
SATURATION_STD = 1.0  # of the base-2 logarithm
BAND_STD = 1.0  # of the base-2 logarithm
NOISE_STD = 0.1  # of the normal distribution whose absolute value is the noise's own standard deviation
CUTOUT_SIZE = 0.5  # share of the side


class Draws(NamedTuple):
    """What is drawn for a batch; None for a kind of transformation that is not used."""

    geometry: Geometry | None
    colour: Colour | None
    bands: Tensor | None  # (N, 4) factor of each frequency band, lowest first; 1 leaves it unchanged
    noise: Tensor | None  # (N, image channels, S, S), added
    cutout: Cutout | None


def draw(
    images: Tensor, strength: Tensor, image_channels: int, chance: torch.Generator, transforms: tuple[str, ...]
) -> Draws:
    """Draw the transformations, any of `FULL`, of each image (N, C, S, S); only shape, dtype and device matter."""
    count, device, dtype = len(images), images.device, images.dtype

    def uniform(*shape: int) -> Tensor:
        return torch.rand(count, *shape, generator=chance, device=device, dtype=dtype)

    def normal(*shape: int) -> Tensor:
        return torch.randn(count, *shape, generator=chance, device=device, dtype=dtype)

    def log_normal(std: float, *shape: int) -> Tensor:
        return torch.exp2(normal(*shape) * std)

    def maybe(name: str, drawn: Tensor, neutral: float, probability: Tensor = strength) -> Tensor:
        """Keep what was drawn with this probability: one decision for each image."""
        if name not in transforms:
            return torch.full_like(drawn, neutral)
        chosen = uniform(*[1] * (drawn.ndim - 1)) < probability
        return torch.where(chosen, drawn, neutral)

    geometry = colour = bands = noise = cutout = None
    if not {*BLITTING, *GEOMETRIC}.isdisjoint(transforms):
        # Two rotations, so that the anisotropy has any direction; one of them at least with probability p.
        each = 1 - (1 - strength).sqrt()
        geometry = Geometry(
            x_flip=maybe("x_flip", (uniform() * 2).floor(), 0.0),
            quarter_turns=maybe("quarter_turns", (uniform() * 4).floor(), 0.0),
            integer_translation=maybe("integer_translation", (uniform(2) * 2 - 1) * INTEGER_TRANSLATION, 0.0),
            scale=maybe("scale", log_normal(SCALE_STD), 1.0),
            rotation=maybe("rotation", (uniform() * 2 - 1) * math.pi, 0.0, each),
            anisotropy=maybe("anisotropy", log_normal(ANISOTROPY_STD), 1.0),
            later_rotation=maybe("rotation", (uniform() * 2 - 1) * math.pi, 0.0, each),
            fractional_translation=maybe("fractional_translation", normal(2) * FRACTIONAL_TRANSLATION_STD, 0.0),
        )
    if not set(COLOUR).isdisjoint(transforms):
        colour = Colour(
            brightness=maybe("brightness", normal() * BRIGHTNESS_STD, 0.0),
            contrast=maybe("contrast", log_normal(CONTRAST_STD), 1.0),
            luma_flip=maybe("luma_flip", (uniform() * 2).floor(), 0.0),
            hue=maybe("hue", (uniform() * 2 - 1) * math.pi, 0.0),
            saturation=maybe("saturation", log_normal(SATURATION_STD), 1.0),
        )
    if "bands" in transforms:
        # Each band is a transformation of its own.
        bands = torch.stack([maybe("bands", log_normal(BAND_STD), 1.0) for _ in range(BANDS)], 1)
    if "noise" in transforms:
        level = maybe("noise", normal(1, 1, 1).abs() * NOISE_STD, 0.0)
        noise = normal(image_channels, *images.shape[2:]) * level
    if "cutout" in transforms:
        size = maybe("cutout", torch.full((count,), CUTOUT_SIZE, device=device, dtype=dtype), 0.0)
        cutout = Cutout(uniform(2), size)
    return Draws(geometry, colour, bands, noise, cutout)


def apply(images: Tensor, draws: Draws, image_channels: int) -> Tensor:
    """Transform images as drawn.

    Args:
        images: (N, C, S, S) in [-1, 1]; S at least 22 if frequency bands are used.
        draws: From `draw`.
        image_channels: 1 or 3 channels that are image; those after them are masks, which geometry and cutout
            change, but colour, filtering and noise do not.

    Returns:
        (N, C, S, S), not clipped.

    Raises:
        ValueError: Another number of image channels, if colours are used.
    """
    if draws.geometry is not None:
        images = transform(images, draws.geometry)
    pictures, masks = images[:, :image_channels], images[:, image_channels:]
    if draws.colour is not None:
        pictures = recolour(pictures, draws.colour)
    if draws.bands is not None:
        pictures = filter_bands(pictures, draws.bands)
    if draws.noise is not None:
        pictures = pictures + draws.noise
    images = torch.cat([pictures, masks], 1)
    return images if draws.cutout is None else cut_out(images, draws.cutout)


def augment(
    images: Tensor,
    strength: Tensor,
    image_channels: int,
    chance: torch.Generator,
    transforms: tuple[str, ...] = BGC,
) -> Tensor:
    """Transform images as `apply` does, at random, differentiably (twice); with ``strength`` 0 they stay unchanged.

    Raises:
        ValueError: Another number of image channels, if colours are used.
    """
    return apply(images, draw(images, strength, image_channels, chance, transforms), image_channels)
