"""The image sizes that the convolutional GANs here are defined for."""

from __future__ import annotations

IMAGE_SIZES = (32, 64, 128, 224, 256, 512)


def smallest_side(image_size: int) -> int:
    """Return the side of a network's smallest feature maps, which is doubled up to the image's.

    It is 4, the published side, for a power of two, and 7 for 224 = 7 * 2^5; another size is a ValueError.
    """
    if image_size not in IMAGE_SIZES:
        raise ValueError(f"image_size: found {image_size}, expected one of {', '.join(map(str, IMAGE_SIZES))}")
    return 7 if image_size == 224 else 4


def doublings(image_size: int, side: int) -> int:
    """Return how often ``side`` is doubled to reach ``image_size``, a power of two times it."""
    return (image_size // side).bit_length() - 1
