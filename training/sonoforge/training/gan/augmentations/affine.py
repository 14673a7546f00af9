"""Random affine distortion of real images.

Unlike an augmentation of the discriminator's input, it changes the data distribution: generated images show it too.
Jointly trained masks move with their images.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import grid_sample

from sonoforge.runtime.seeds import derive_seed


@dataclass(frozen=True)
class AffineRanges:
    """Ranges of a random affine map; each part is drawn uniformly from minus to plus its range.

    The defaults keep anatomy plausible and most of the picture in view.  They are this project's choice: Berezsky
    and Liashchynskyi 2024, who expand their classes by such maps, are the source of the method, not of the numbers.
    """

    rotation: float = 15.0  # degrees
    scale: float = 0.1  # relative; the factor is log-uniform from 1 / (1 + scale) to 1 + scale
    shift: float = 0.05  # share of the side, in both directions
    shear: float = 8.0  # degrees


def affine_matrices(draws: NDArray[np.float64], ranges: AffineRanges) -> Tensor:
    """Convert uniform draws to the maps from points of the result to points of the image.

    The image is sheared, scaled, rotated about its centre, then shifted.

    Args:
        draws: (N, 5) in [-1, 1]: rotation, scale, shear, shift across, shift down.
        ranges: The values at a draw of 1.

    Returns:
        (N, 2, 3) float32, in coordinates where the image spans -1..1, x before y.
    """
    angle = np.radians(ranges.rotation) * draws[:, 0]
    factor = (1 + ranges.scale) ** draws[:, 1]
    slope = np.tan(np.radians(ranges.shear) * draws[:, 2])
    turn = np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], axis=1).reshape(-1, 2, 2)
    shear = np.tile(np.eye(2), (len(draws), 1, 1))
    shear[:, 0, 1] = slope
    inverse = np.linalg.inv(factor[:, None, None] * turn @ shear)
    shift = 2 * ranges.shift * draws[:, 3:, None]  # the side is 2 long
    return torch.from_numpy(np.concatenate([inverse, -inverse @ shift], axis=2).astype(np.float32))


def draw_affine(count: int, ranges: AffineRanges, seed: int, step: int) -> Tensor:
    """Draw the (count, 2, 3) maps of one step's batch from (seed, step) alone."""
    rng = np.random.default_rng(derive_seed(seed, "affine", step))
    return affine_matrices(rng.uniform(-1, 1, (count, 5)), ranges)


def warp(images: Tensor, matrices: Tensor, image_channels: int) -> Tensor:
    """Move images, and their masks with them; the border is reflected, the values are bilinear.

    Args:
        images: (N, C, S, S) float in [-1, 1].
        matrices: (N, 2, 3) from `affine_matrices`.
        image_channels: Channels from here on are masks: they stay -1 or 1.

    Returns:
        (N, C, S, S) float.
    """
    side = images.shape[3]
    places = (torch.arange(side, device=images.device, dtype=images.dtype) * 2 + 1) / side - 1  # centres of pixels
    maps = matrices.to(images)[:, None, None]
    # Not affine_grid: its matrix product may run in TF32, whose 10 bits are a tenth of a pixel at side 224.
    grid = maps[..., 0] * places[:, None] + maps[..., 1] * places[:, None, None] + maps[..., 2]
    moved = grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    masks = moved[:, image_channels:]
    masks.copy_(masks.ge(0).to(masks) * 2 - 1)
    return moved
