"""Masks trained jointly with their images, as the last channel: how a GAN makes pairs for segmentation."""

from __future__ import annotations

import numpy as np

from sonoforge.training.data.masks import HALF
from sonoforge.training.gan.images import Pixels, prepare_images


def join_masks(images: Pixels, masks: Pixels) -> Pixels:
    """Append masks to images as their last channel.

    A mask is averaged over the area of each new pixel by the filter that resized its image, then cut at half: each
    pixel says what covers most of it.  The nearest old pixel alone would keep or break thin parts by chance.

    Args:
        images: (N, S, S, C) uint8 from `images.prepare_images`.
        masks: (N, H, W) uint8, 255 inside, the geometry of the images before they were resized.

    Returns:
        (N, S, S, C + 1) uint8, the last channel 0 or 255.
    """
    return np.concatenate([images, _cut(prepare_images(masks[..., None], images.shape[1], 1))], axis=3)


def split_masks(pixels: Pixels, image_channels: int) -> tuple[Pixels, Pixels | None]:
    """Take samples apart into images and masks; generated masks are cut at half as well.

    Args:
        pixels: (N, S, S, C) uint8, generated or real.
        image_channels: Channels that are image; one more, if there, is the mask.

    Returns:
        (N, S, S, image_channels) uint8, and (N, S, S, 1) uint8 of 0 and 255 or None.
    """
    masks = pixels[..., image_channels:]
    return pixels[..., :image_channels], _cut(masks) if masks.shape[3] else None


def _cut(levels: Pixels) -> Pixels:
    return np.where(levels >= HALF, 255, 0).astype(np.uint8)
