"""Bilinear look-up of images at points."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from sonoforge.training.gan.augmentations.ada.linear import apply_linear


def sample_bilinear(images: Tensor, grid: Tensor) -> Tensor:
    """Look up images at points, differentiably in the images: (N, C, H', W').

    Args:
        images: (N, C, H, W), zero beyond its edges.
        grid: (N, H', W', 2) x and y of each point: -1 and 1 are the image's edges.
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
