"""Masks trained jointly with their images, as the last channels: how a GAN makes pairs for segmentation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.images.synthetic import cut_structures
from sonoforge.training.data.pixels import Pixels, prepare_images


def join_masks(images: Pixels, masks: NDArray[np.uint8]) -> Pixels:
    """Append masks as the last channels, one for each structure.

    A mask is averaged over the area of each new pixel by the filter that resized its image, then each pixel is given
    to what covers most of it, a structure or none.  The nearest old pixel alone would keep or break thin parts by
    chance.

    Args:
        images: (N, S, S, C) uint8.
        masks: (N, K, H, W) uint8, of the images' geometry before they were resized.

    Returns:
        (N, S, S, C + K) uint8, the last channels 0 or 255.
    """
    side = images.shape[1]
    shares = [prepare_images(masks[:, k, ..., None], side, 1) for k in range(masks.shape[1])]
    return np.concatenate([images, cut_structures(np.concatenate(shares, axis=3))], axis=3)
