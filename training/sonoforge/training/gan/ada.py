"""Augment with adaptive strength: ADA (Karras et al., "Training GANs with Limited Data", NeurIPS 2020).

Each transformation of appendix B is applied to each image with probability p, independently of all others; an image
without any stays unchanged. All numbers come from figure 20. As in the paper's experiments, they are pixel blitting,
geometric and colour transformations; filtering and corruptions brought no further gain (section 2.3).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import grid_sample, pad

from sonoforge.models.stylegan.layers import apply_linear

INTEGER_TRANSLATION = 0.125  # share of the side at most, either way
SCALE_STD = 0.2  # of the base-2 logarithm
ANISOTROPY_STD = 0.2  # of the base-2 logarithm
FRACTIONAL_TRANSLATION_STD = 0.125  # share of the side
BRIGHTNESS_STD = 0.2
CONTRAST_STD = 0.5  # of the base-2 logarithm
SATURATION_STD = 1.0  # of the base-2 logarithm


def draw(images: Tensor, strength: Tensor, chance: torch.Generator) -> tuple[Geometry, Colour]:
    """Draw the transformations of each image (N, C, S, S); only shape, dtype and device matter."""
    count, device, dtype = len(images), images.device, images.dtype

    def uniform(*shape: int) -> Tensor:
        return torch.rand(count, *shape, generator=chance, device=device, dtype=dtype)

    def normal(*shape: int) -> Tensor:
        return torch.randn(count, *shape, generator=chance, device=device, dtype=dtype)

    def maybe(drawn: Tensor, neutral: float, probability: Tensor = strength) -> Tensor:
        """Keep what was drawn with this probability: one decision for each image."""
        return torch.where(uniform(*[1] * (drawn.ndim - 1)) < probability, drawn, neutral)

    # Two rotations, so that the anisotropy has any direction; one of them at least with probability p.
    each = 1 - (1 - strength).sqrt()
    geometry = Geometry(
        x_flip=maybe((uniform() * 2).floor(), 0.0),
        quarter_turns=maybe((uniform() * 4).floor(), 0.0),
        integer_translation=maybe((uniform(2) * 2 - 1) * INTEGER_TRANSLATION, 0.0),
        scale=maybe(torch.exp2(normal() * SCALE_STD), 1.0),
        rotation=maybe((uniform() * 2 - 1) * math.pi, 0.0, each),
        anisotropy=maybe(torch.exp2(normal() * ANISOTROPY_STD), 1.0),
        later_rotation=maybe((uniform() * 2 - 1) * math.pi, 0.0, each),
        fractional_translation=maybe(normal(2) * FRACTIONAL_TRANSLATION_STD, 0.0),
    )
    colour = Colour(
        brightness=maybe(normal() * BRIGHTNESS_STD, 0.0),
        contrast=maybe(torch.exp2(normal() * CONTRAST_STD), 1.0),
        luma_flip=maybe((uniform() * 2).floor(), 0.0),
        hue=maybe((uniform() * 2 - 1) * math.pi, 0.0),
        saturation=maybe(torch.exp2(normal() * SATURATION_STD), 1.0),
    )
    return geometry, colour


def augment(images: Tensor, strength: Tensor, image_channels: int, chance: torch.Generator) -> Tensor:
    """Transform images (N, C, S, S) in [-1, 1] at random, differentiably (twice); the result is not clipped.

    With ``strength`` 0 they stay unchanged.  Channels after the 1 or 3 image channels are masks, which only move.
    """
    geometry, colour = draw(images, strength, chance)
    images = transform(images, geometry)
    return torch.cat([recolour(images[:, :image_channels], colour), images[:, image_channels:]], 1)


# Pixel blitting and geometric transformations (appendix B.1, figure 20) together are one affine map of the plane.  It
# is executed once, with as little blur and aliasing as possible: reflect the image outwards, enlarge it twice by an
# orthogonal wavelet's low-pass filter (sym6), look up each output pixel of the enlarged image bilinearly, reduce it by
# the same filter, and crop to the centre.


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


def _affine(a: Tensor, b: Tensor, x: Tensor, c: Tensor, d: Tensor, y: Tensor) -> Tensor:
    """Put two rows of (N,) above 0, 0, 1: (N, 3, 3)."""
    zero = torch.zeros_like(a)
    return torch.stack([a, b, x, c, d, y, zero, zero, torch.ones_like(a)], 1).view(-1, 3, 3)


def _scaling(x: Tensor, y: Tensor) -> Tensor:
    zero = torch.zeros_like(x)
    return _affine(x, zero, zero, zero, y, zero)


def _rotation(angle: Tensor) -> Tensor:
    zero, sine, cosine = torch.zeros_like(angle), angle.sin(), angle.cos()
    return _affine(cosine, -sine, zero, sine, cosine, zero)


def _translation(shift: Tensor) -> Tensor:
    (x, y), zero, one = shift.unbind(1), torch.zeros_like(shift[:, 0]), torch.ones_like(shift[:, 0])
    return _affine(one, zero, x, zero, one, y)


def inverse_map(drawn: Geometry, side: int) -> Tensor:
    """Return where each output point comes from: (N, 3, 3) on (x, y, 1), in pixels from the centre, y downwards."""
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


def transform(images: Tensor, drawn: Geometry) -> Tensor:
    """Move the pixels of images (N, C, S, S), equally in all channels; the identity map leaves an image unchanged."""
    side = images.shape[3]
    inverse, reach = inverse_map(drawn, side), (side - 1) / 2
    farthest = (inverse[:, :2, :2].abs().sum(2) * reach + inverse[:, :2, 2].abs()).max()
    margin = min(max(math.ceil(float(farthest) - reach) + LENGTH // 2, 0), side - 1)  # at most one reflection
    enlarged = upsample(pad(images, [margin] * 4, mode="reflect"))
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
    """Change the colours of images (N, C, S, S) in [-1, 1], C = 1 or 3; grey ones have only luma (authors' code)."""
    brightness, contrast, luma_flip, hue, saturation = (value[:, None, None, None] for value in drawn)
    luma = images.mean(1, keepdim=True)
    luma_gain = contrast * (1 - 2 * luma_flip)
    chroma_gain = contrast * saturation
    along, across = chroma_gain * hue.cos(), chroma_gain * hue.sin()
    # v x image: chroma turned by a right angle; zero for a grey image.
    turned = (images.roll(1, 1) - images.roll(-1, 1)) / math.sqrt(3)
    # The image stands for its chroma, so that neutral draws give back the image bit for bit.
    return along * images + (luma_gain - along) * luma + luma_gain * brightness + across * turned


def sample_bilinear(images: Tensor, grid: Tensor) -> Tensor:
    """Look up images at points, differentiably in the images: (N, C, H', W').

    Args:
        images: (N, C, H, W), zero beyond its edges.
        grid: (N, H', W', 2) x and y of each point; -1 and 1 are the image's edges.
    """

    def look_up(images: Tensor) -> Tensor:
        return grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)

    shape = images.shape

    def spread(values: Tensor) -> Tensor:
        only_the_shape_is_read = values.new_zeros(1).expand(shape)
        bilinear, zeros = 0, 0
        gradients: tuple[Tensor, Tensor] = torch.ops.aten.grid_sampler_2d_backward(
            values, only_the_shape_is_read, grid, bilinear, zeros, False, [True, False]
        )
        return gradients[0]

    return apply_linear(images, look_up, spread)


# The low-pass (analysis) filter of Daubechies' least asymmetric orthogonal wavelet with 6 vanishing moments, which sums
# to the root of 2 ("Ten Lectures on Wavelets", 1992, table 6.3).
SYM6 = (
    0.015404109327027373, 0.0034907120842174702, -0.11799011114819057, -0.048311742585633, 0.4910559419267466,
    0.787641141030194, 0.3379294217276218, -0.07263752278646252, -0.021060292512300564, 0.04472490177066578,
    0.0017677118642428036, -0.007800708325034148,
)  # fmt: skip
LENGTH = len(SYM6)
MIDDLE = (LENGTH - 1) / 2  # 5.5, of the taps
CENTRE = 5.0  # of their weight, to the nearest half: 5.1


# Sums of shifted images: on a CPU several times as fast as torch's convolution of single channels, and on a GPU in full
# precision, where a convolution would round to TF32.


def _weighted_sum(parts: list[tuple[float, Tensor]]) -> Tensor:
    total = parts[0][1] * parts[0][0]
    for weight, part in parts[1:]:
        total.add_(part, alpha=weight)
    return total


def _enlarge_axis(images: Tensor, axis: int, gain: float) -> Tensor:
    """Put zeros between the pixels and convolve with the filter: n pixels become 2 n + 10."""
    margin = LENGTH // 2 - 1
    padded = pad(images, (0, 0, margin, margin) if axis == 2 else (margin, margin))
    count = images.shape[axis] + margin
    enlarged = images.new_empty([*images.shape[:axis], count, 2, *images.shape[axis + 1 :]])
    for phase in (0, 1):
        parts = [(gain * SYM6[tap], padded.narrow(axis, margin - tap // 2, count)) for tap in range(phase, LENGTH, 2)]
        enlarged.select(axis + 1, phase).copy_(_weighted_sum(parts))  # several times as fast as stacking both
    return enlarged.flatten(axis, axis + 1)


def _reduce_axis(images: Tensor, axis: int, gain: float) -> Tensor:
    """Apply the transpose of `_enlarge_axis`: 2 n + 10 pixels become n."""
    phases = [part.contiguous() for part in images.unflatten(axis, (-1, 2)).unbind(axis + 1)]
    count = phases[0].shape[axis] - (LENGTH // 2 - 1)
    return _weighted_sum([(gain * SYM6[tap], phases[tap % 2].narrow(axis, tap // 2, count)) for tap in range(LENGTH)])


def _enlarge(images: Tensor, gain: float) -> Tensor:
    return _enlarge_axis(_enlarge_axis(images, 3, gain), 2, gain)


def _reduce(images: Tensor, gain: float) -> Tensor:
    return _reduce_axis(_reduce_axis(images, 2, gain), 3, gain)


# A constant must stay: an output pixel meets every second tap when enlarging, and these sum to the root of 1/2.
_UP, _DOWN = math.sqrt(2), math.sqrt(0.5)


def upsample(images: Tensor) -> Tensor:
    """Enlarge (N, C, H, W) twice, with zeros beyond the edges, to (N, C, 2 H + 10, 2 W + 10)."""
    return apply_linear(images, partial(_enlarge, gain=_UP), partial(_reduce, gain=_UP))


def downsample(images: Tensor) -> Tensor:
    """Reduce (N, C, 2 H + 10, 2 W + 10) to (N, C, H, W): the inverse of `upsample`, and its transpose up to scale."""
    return apply_linear(images, partial(_reduce, gain=_DOWN), partial(_enlarge, gain=_DOWN))


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
    """Move p as far as ``images`` since the last call allow, and reset the counts; without scores, keep p."""
    overfitting = state["signs"] / state["scores"].clamp(min=1.0)
    direction = torch.where(state["scores"] > 0, (overfitting - TARGET).sign(), 0.0)
    nothing = torch.zeros_like(state["scores"])
    return {
        "strength": (state["strength"] + direction * (images / RISE)).clamp(0.0, 1.0),
        "signs": nothing,
        "scores": nothing.clone(),
    }
