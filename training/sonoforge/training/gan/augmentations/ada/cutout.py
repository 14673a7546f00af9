"""ADA's cutout (Karras 2020, appendix B.2, figure 21): one square of zeros."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Cutout(NamedTuple):
    """What is drawn for each of N images."""

    centre: Tensor  # (N, 2) of the square, from the left and from the top, as a share of the side
    size: Tensor  # (N,) side of the square, as a share of the image's side; 0 cuts out nothing


def cut_out(images: Tensor, drawn: Cutout) -> Tensor:
    """Set the pixels whose centres lie in the square to zero, in all channels of images (N, C, S, S)."""
    side = images.shape[3]
    places = (torch.arange(side, device=images.device) + 0.5) / side
    kept = (places - drawn.centre[:, :, None]).abs() >= drawn.size[:, None, None] / 2
    return images * (kept[:, 0, None, None, :] | kept[:, 1, None, :, None])
