"""ADA (Karras et al., "Training GANs with Limited Data", NeurIPS 2020): its augmentations and their adaptive strength.

Each transformation of appendix B is applied to each image with probability p, independently of all others; an image
without any stays unchanged.  All numbers are those of figures 20 and 21.  `draw` draws numbers for each image, `apply`
transforms by them.

The discriminator of the paper's experiments sees pixel blitting, geometric and colour transformations (`BGC`);
filtering and corruptions brought no further gain (section 2.3).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import conv2d, pad

from sonoforge.training.gan.augmentations.resampling import (
    CENTRE,
    LENGTH,
    MIDDLE,
    SYM2,
    downsample,
    sample_bilinear,
    upsample,
)

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
    """The draws of a batch; None for a kind of transformation that is not used."""

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
        image_channels: 1 or 3 image channels; those after them are masks, on which only geometry and cutout act.

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
    """Transform images at random as `apply` does, differentiably (twice); with ``strength`` 0 they stay unchanged.

    Raises:
        ValueError: See `apply`.
    """
    return apply(images, draw(images, strength, image_channels, chance, transforms), image_channels)


# Pixel blitting and geometric transformations (appendix B.1, figure 20) together are one affine map of the plane.  It
# is executed once, with as little blur and aliasing
# as possible: reflect the image outwards, enlarge it twice by an orthogonal wavelet's low-pass filter (sym6), look up
# each output pixel of the enlarged image bilinearly, reduce it by the same filter, and crop to the centre.

FILTER_MARGIN = LENGTH // 2  # pixels: both filters together, a quarter of its length each at twice the resolution


class Geometry(NamedTuple):
    """Draws for N images, in order of application."""

    x_flip: Tensor  # (N,) 1 mirrors left and right, 0 does not
    quarter_turns: Tensor  # (N,) 0 to 3, anticlockwise
    integer_translation: Tensor  # (N, 2) to the right and down, as a share of the side; rounded to whole pixels
    scale: Tensor  # (N,) above 0; above 1 enlarges
    rotation: Tensor  # (N,) radians, anticlockwise
    anisotropy: Tensor  # (N,) above 0; the width is multiplied by it and the height divided
    later_rotation: Tensor  # (N,) radians, anticlockwise
    fractional_translation: Tensor  # (N, 2) to the right and down, as a share of the side


def _matrices(*entries: Tensor) -> Tensor:
    """Put nine (N,) row by row into (N, 3, 3)."""
    return torch.stack(entries, 1).view(-1, 3, 3)


def _scaling(x: Tensor, y: Tensor) -> Tensor:
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    return _matrices(x, zero, zero, zero, y, zero, zero, zero, one)


def _rotation(angle: Tensor) -> Tensor:
    zero, one = torch.zeros_like(angle), torch.ones_like(angle)
    sine, cosine = angle.sin(), angle.cos()
    return _matrices(cosine, -sine, zero, sine, cosine, zero, zero, zero, one)


def _translation(shift: Tensor) -> Tensor:
    x, y = shift.unbind(1)
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    return _matrices(one, zero, x, zero, one, y, zero, zero, one)


def inverse_map(drawn: Geometry, side: int) -> Tensor:
    """Where each output point comes from: (N, 3, 3) on (x, y, 1) in pixels from the centre, y downwards."""
    return (
        _scaling(1 - 2 * drawn.x_flip, torch.ones_like(drawn.x_flip))
        @ _rotation(drawn.quarter_turns * (math.pi / 2))
        @ _translation(-(drawn.integer_translation * side).round())
        @ _scaling(1 / drawn.scale, 1 / drawn.scale)
        @ _rotation(drawn.rotation)
        @ _scaling(1 / drawn.anisotropy, drawn.anisotropy)
        @ _rotation(drawn.later_rotation)
        @ _translation(-drawn.fractional_translation * side)
    )


def _margin(inverse: Tensor, side: int) -> int:
    """Pixels by which to reflect the batch outwards, at most as many as one reflection gives."""
    reach = (side - 1) / 2
    farthest = (inverse[:, :2, :2].abs().sum(2) * reach + inverse[:, :2, 2].abs()).max()
    return min(max(math.ceil(float(farthest) - reach) + FILTER_MARGIN, 0), side - 1)


def transform(images: Tensor, drawn: Geometry) -> Tensor:
    """Move the pixels of images (N, C, S, S), in all channels alike; the identity map leaves an image unchanged."""
    side = images.shape[3]
    inverse = inverse_map(drawn, side)
    enlarged = upsample(pad(images, [_margin(inverse, side)] * 4, mode="reflect"))
    # The enlarged image lies half a pixel before its position.
    early = MIDDLE - CENTRE
    wanted = 2 * side + LENGTH - 2
    places = torch.arange(wanted, dtype=inverse.dtype, device=inverse.device)[:, None] - (wanted - 1) / 2 + early
    rows = inverse[:, None, :2, 1] * places + (2 * inverse[:, None, :2, 2] - early)
    columns = inverse[:, None, :2, 0] * places
    grid = (rows[:, :, None] + columns[:, None]) * (2 / enlarged.shape[3])
    moved = downsample(sample_bilinear(enlarged, grid))
    identity = torch.eye(3, dtype=inverse.dtype, device=inverse.device)
    return torch.where((inverse != identity).any(2).any(1)[:, None, None, None], moved, images)


# Colour transformations (appendix B.1, figure 20): there 4x4 matrices, multiplied in the order of `Colour`.  With v =
# (1, 1, 1) / sqrt 3 and the parts of a pixel along v (luma: the mean of its channels) and across it (chroma), the
# product is simply
#
#     luma   <- contrast (luma + brightness), negated by a luma flip
#     chroma <- contrast saturation, rotated by the hue's angle about v
#
# because each of the five acts on luma and chroma separately.


class Colour(NamedTuple):
    """Draws for N images, in order of application."""

    brightness: Tensor  # (N,) added to each channel
    contrast: Tensor  # (N,) above 0, a factor
    luma_flip: Tensor  # (N,) 1 mirrors colours at the plane where luma is 0, 0 does not
    hue: Tensor  # (N,) radians
    saturation: Tensor  # (N,) at least 0, a factor


def recolour(images: Tensor, drawn: Colour) -> Tensor:
    """Change the colours of images (N, C, S, S) in [-1, 1], C = 1 or 3; grey ones have only luma (authors' code).

    Raises:
        ValueError: Another number of channels.
    """
    if images.shape[1] not in (1, 3):
        raise ValueError(f"colour: found {images.shape[1]} image channels, expected 1 or 3")
    brightness, contrast, luma_flip, hue, saturation = (value[:, None, None, None] for value in drawn)
    luma = images.mean(1, keepdim=True)
    luma_gain = contrast * (1 - 2 * luma_flip)
    chroma_gain = contrast * saturation
    along, across = chroma_gain * hue.cos(), chroma_gain * hue.sin()
    # v x image: chroma turned by a right angle; zero for a grey image.
    turned = (images.roll(1, 1) - images.roll(-1, 1)) / math.sqrt(3)
    # The image stands for its chroma, so that neutral draws give back the image bit for bit.
    return along * images + (luma_gain - along) * luma + luma_gain * brightness + across * turned


class Cutout(NamedTuple):
    """Draws for N images: one square of zeros each (Karras 2020, appendix B.2, figure 21)."""

    centre: Tensor  # (N, 2) of the square, from the left and from the top, as a share of the side
    size: Tensor  # (N,) side of the square, as a share of the image's side; 0 cuts out nothing


def cut_out(images: Tensor, drawn: Cutout) -> Tensor:
    """Set the pixels whose centres lie in the square to zero, in all channels of images (N, C, S, S)."""
    side = images.shape[3]
    places = (torch.arange(side, device=images.device) + 0.5) / side
    kept = (places - drawn.centre[:, :, None]).abs() >= drawn.size[:, None, None] / 2
    return images * (kept[:, 0, None, None, :] | kept[:, 1, None, :, None])


# Image-space filtering (appendix B.2, figure 21): amplified and attenuated frequency bands.
#
# The bands are [0, pi/8], [pi/8, pi/4], [pi/4, pi/2] and [pi/2, pi] of each axis, separated by a filter bank of the
# wavelet sym2, symmetric and adding up to the identity.

BANDS = 4
POWER = (10 / 13, 1 / 13, 1 / 13, 1 / 13)  # expected share of each band in an image's power: 1/f, figure 21


def filter_bank() -> NDArray[np.float64]:
    """Return (4, 43): each band's filter, lowest first, centred.

    With the wavelet's low-pass filter H, P(z) = H(z) H(1/z) / 2 halves the spectrum softly: P(z) + P(-z) = 1.
    The bands are P(z) P(z^2) P(z^4), P(z) P(z^2) P(-z^4), P(z) P(-z^2) and P(-z).
    """
    low = np.convolve(SYM2, SYM2[::-1]) / 2
    centre = len(low) // 2
    high = low * (-1.0) ** np.arange(-centre, centre + 1)
    bank = np.ones((1, 1))
    for _ in range(BANDS - 1):
        stretched = np.zeros((len(bank), 2 * bank.shape[1] - 1))  # z becomes z^2
        stretched[:, ::2] = bank
        split = [np.convolve(row, low) for row in stretched]
        margin = (len(split[0]) - len(high)) // 2
        bank = np.stack([*split, np.pad(high, margin)])
    return bank


@functools.lru_cache
def _bank(device: torch.device, dtype: torch.dtype) -> Tensor:
    return torch.tensor(filter_bank(), device=device, dtype=dtype)


def band_gains(drawn: Tensor) -> Tensor:
    """Convert the drawn factors (N, 4) into the gains of the bands (N, 4).

    Each band is amplified in a step of its own, after which the gains of all four are divided by the root of the
    power that the step gave a typical image.
    """
    # Root of the sum of POWER * gain^2, when one gain is the factor and the others are 1.
    steps = (1 + drawn.new_tensor(POWER) * (drawn.square() - 1)).sqrt()
    return drawn / steps.prod(1, keepdim=True)


def filter_bands(images: Tensor, drawn: Tensor) -> Tensor:
    """Amplify the frequency bands of each image; one whose factors are all 1 stays unchanged.

    Args:
        images: (N, C, S, S), S at least 22: half the filter's length is reflected outwards.
        drawn: (N, 4) factors above 0, lowest band first.
    """
    count, channels, side, _ = images.shape
    bank = _bank(images.device, images.dtype)
    taps = (band_gains(drawn) @ bank).repeat_interleave(channels, 0)[:, None, None, :]
    flat = pad(images.reshape(1, count * channels, side, side), [bank.shape[1] // 2] * 4, mode="reflect")
    flat = conv2d(flat, taps, groups=count * channels)
    flat = conv2d(flat, taps.transpose(2, 3), groups=count * channels)
    return torch.where((drawn != 1).any(1)[:, None, None, None], flat.view_as(images), images)


# The adaptive strength (section 3).  A discriminator that overfits is confident of its real training images, which
# r_t = E[sign(D(real))] (equation 1) measures: 0 is undecided, 1 a positive score for every one.  The probability p
# starts at 0, and every four steps moves by a fixed amount towards r_t = 0.6.  Unlike in the paper p is clamped at 1,
# too: beyond it nothing more is augmented, and p would take longer to fall again.
#
# The state is a dict of scalar tensors: ``strength`` (p), the sum of ``signs`` and the number of ``scores`` since p
# last moved.  The sign of a score has to separate real from generated images.

TARGET = 0.6  # of r_t: section 3
INTERVAL = 4  # steps between two moves of p: section 3
RISE = 500_000  # number of real images while p goes from 0 to 1: section 3
START = {"strength": 0.0, "signs": 0.0, "scores": 0.0}


def observe(state: Mapping[str, Tensor], scores: Tensor) -> dict[str, Tensor]:
    """Count the discriminator's scores (N,) of a batch of augmented real images."""
    return {
        "strength": state["strength"],
        "signs": state["signs"] + scores.detach().sign().sum(),
        "scores": state["scores"] + scores.numel(),
    }


def adapt(state: Mapping[str, Tensor], images: int) -> dict[str, Tensor]:
    """Move p by as much as ``images`` since the last call allow, and reset the counts; without scores p stays."""
    overfitting = state["signs"] / state["scores"].clamp(min=1.0)
    direction = torch.where(state["scores"] > 0, (overfitting - TARGET).sign(), 0.0)
    nothing = torch.zeros_like(state["scores"])
    return {
        "strength": (state["strength"] + direction * (images / RISE)).clamp(0.0, 1.0),
        "signs": nothing,
        "scores": nothing.clone(),
    }
