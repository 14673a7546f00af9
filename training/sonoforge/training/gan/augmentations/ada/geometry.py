"""ADA's pixel blitting and geometric transformations (Karras 2020, appendix B.1, figure 20).

All of them together are one affine map of the plane.  It is executed once, with as little blur and aliasing
as possible: reflect the image outwards, enlarge it twice by an orthogonal wavelet's low-pass filter (sym6), look up
each output pixel of the enlarged image bilinearly, reduce it by the same filter, and crop to the centre.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from sonoforge.training.gan.augmentations.ada.bilinear import sample_bilinear
from sonoforge.training.gan.augmentations.ada.wavelets import CENTRE, LENGTH, MIDDLE, downsample, upsample

FILTER_MARGIN = LENGTH // 2  # pixels: both filters together, a quarter of its length each at twice the resolution


class Geometry(NamedTuple):
    """What is drawn for each of N images, in order of application."""

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
    """Pixels by which the batch must be reflected outwards; at most what one reflection can give."""
    reach = (side - 1) / 2
    farthest = (inverse[:, :2, :2].abs().sum(2) * reach + inverse[:, :2, 2].abs()).max()
    return min(max(math.ceil(float(farthest) - reach) + FILTER_MARGIN, 0), side - 1)


def transform(images: Tensor, drawn: Geometry) -> Tensor:
    """Move the pixels of images (N, C, S, S), all channels alike; the identity map leaves an image unchanged."""
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
