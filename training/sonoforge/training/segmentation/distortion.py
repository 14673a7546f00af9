"""Random affine and elastic distortion of images with their label maps, and changes of contrast: augmentation.

The elastic part moves the nodes of a coarse grid at random and the pixels between them smoothly (Simard, Steinkraus,
Platt, ICDAR 2003, section 2, with a coarse grid in place of a Gaussian filter).
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, interpolate

NODES = 6  # of the elastic grid, a side


@dataclass(frozen=True)
class Distortion:
    """The most that each pair is distorted; every amount is drawn evenly between its ends."""

    degrees: float = 20.0  # of rotation either way
    scale: float = 0.15  # share that it grows or shrinks by
    shift: float = 0.08  # of the side, down and across
    bend: float = 0.03  # of the side: how far a node of the elastic grid moves, down and across
    contrast: float = 0.25  # share that contrast, brightness and gamma change by


def distort(
    images: Tensor, maps: Tensor, chance: torch.Generator, amounts: Distortion = Distortion()
) -> tuple[Tensor, Tensor]:
    """Distort each image and its label map alike, and change the image's contrast.

    What comes from beyond the border repeats the border.

    Args:
        images: (N, C, S, S) float in [0, 1].
        maps: (N, S, S) int64 label maps.
        chance: CPU source of random numbers, so that every device draws the same.
        amounts: How much at most.

    Returns:
        Images and maps of the same shapes and ranges.
    """
    grid = _draw_grid(len(images), images.shape[-1], chance, amounts).to(images.device)
    moved = grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return _change_contrast(moved, chance, amounts.contrast), _move_maps(maps, grid)


def distort_maps(maps: Tensor, chance: torch.Generator, amounts: Distortion = Distortion()) -> Tensor:
    """Distort label maps (N, S, S) int64 alone, as `distort` does."""
    return _move_maps(maps, _draw_grid(len(maps), maps.shape[-1], chance, amounts).to(maps.device))


def _move_maps(maps: Tensor, grid: Tensor) -> Tensor:
    moved = grid_sample(maps[:, None].float(), grid, mode="nearest", padding_mode="border", align_corners=False)
    return moved[:, 0].round().long()


def _draw_grid(count: int, side: int, chance: torch.Generator, amounts: Distortion) -> Tensor:
    """Draw where each pixel is taken from: (count, side, side, 2) in [-1, 1], across and down."""

    def draw(most: float, *shape: int) -> Tensor:
        return (2 * torch.rand(count, *shape, generator=chance) - 1) * most

    angle, zoom = torch.deg2rad(draw(amounts.degrees)), 1 + draw(amounts.scale)
    cosine, sine = angle.cos() / zoom, angle.sin() / zoom
    shift = draw(2 * amounts.shift, 2)  # coordinates run from -1 to 1: two for a side
    matrix = torch.stack([cosine, -sine, shift[:, 0], sine, cosine, shift[:, 1]], 1).reshape(count, 2, 3)
    grid = affine_grid(matrix, [count, 1, side, side], align_corners=False)
    bent = interpolate(draw(2 * amounts.bend, 2, NODES, NODES), (side, side), mode="bicubic", align_corners=True)
    return grid + bent.permute(0, 2, 3, 1)


def _change_contrast(images: Tensor, chance: torch.Generator, most: float) -> Tensor:
    """Change contrast about each image's mean, then brightness and gamma."""
    drawn = (2 * torch.rand(3, len(images), 1, 1, 1, generator=chance) - 1).to(images.device) * most
    mean = images.mean((1, 2, 3), keepdim=True)
    levels = (images - mean) * (1 + drawn[0]) + mean * (1 + drawn[1])
    return levels.clamp(0, 1) ** (1 + drawn[2])
