"""Masks trained jointly with their images, as the last channel: how a GAN makes pairs for segmentation."""

from __future__ import annotations

import numpy as np

from sonoforge.runtime.images.synthetic import cut_masks
from sonoforge.training.data.pixels import Pixels, prepare_images


def join_masks(images: Pixels, masks: Pixels) -> Pixels:
    """Append masks (N, H, W) uint8, of the images' geometry before they were resized, as their last channel.

    A mask is averaged over the area of each new pixel by the filter that resized its image, then cut at half: each
    pixel says what covers most of it.  The nearest old pixel alone would keep or break thin parts by chance.

    Returns:
        (N, S, S, C + 1) uint8, the last channel 0 or 255.
    """
    return np.concatenate([images, cut_masks(prepare_images(masks[..., None], images.shape[1], 1))], axis=3)
