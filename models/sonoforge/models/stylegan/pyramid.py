"""The resolutions that a StyleGAN works at, and its number of channels at each."""

from __future__ import annotations

LARGEST = 1024


def sides(image_size: int) -> list[int]:
    """Return the sides in pixels from the smallest feature maps to the image, each twice the one before.

    Args:
        image_size: Side of the square image: 8 to 1024, 4 or 7 times a power of two.

    Returns:
        4, 8, 16, ... as published; 7, 14, 28, ... for 224 and the like.

    Raises:
        ValueError: Another size.
    """
    for smallest in (4, 7):
        found = [smallest << level for level in range(1, LARGEST.bit_length())]
        if image_size in found and image_size <= LARGEST:
            return [smallest, *found[: found.index(image_size) + 1]]
    raise ValueError(
        f"image_size: found {image_size}, expected 4 or 7 times a power of two, from 8 to {LARGEST}, "
        "for example 64, 128, 224, 256 or 512"
    )


def layer_widths(levels: int, channel_base: int, channel_max: int) -> list[int]:
    """Return the number of channels at each level: ``channel_base`` divided by the side, at most ``channel_max``.

    Levels count from 4x4; where the smallest side is 7, it has the channels of 4x4.
    """
    return [max(1, min(channel_base // (4 << level), channel_max)) for level in range(levels)]
