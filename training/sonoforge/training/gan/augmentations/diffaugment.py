"""DiffAugment (Zhao et al., "Differentiable Augmentation for Data-Efficient GAN Training", NeurIPS 2020).

Each of three kinds has a strength drawn for each image at every use, from the ranges of section 3.1.  The order of the
colour operations, the means that saturation and contrast keep, and the places of squares follow the authors' code.
"""

from collections.abc import Callable

import torch
from torch import Tensor

BRIGHTNESS = (-0.5, 0.5)  # added
SATURATION = (0.0, 2.0)  # factor of the distance from the pixel's mean
CONTRAST = (0.5, 1.5)  # factor of the distance from the image's mean
TRANSLATION = 0.125  # share of the side at most, either way; uncovered pixels are zero
CUTOUT = 0.5  # share of the side


def brighten(images: Tensor, shift: Tensor) -> Tensor:
    """Add one number (N,) to each image (N, C, S, S)."""
    return images + shift[:, None, None, None]


def saturate(images: Tensor, factor: Tensor) -> Tensor:
    """Scale the channels of (N, C, S, S) about their mean at each pixel by (N,); a grey image stays unchanged."""
    grey = images.mean(1, keepdim=True)
    return grey + (images - grey) * factor[:, None, None, None]


def change_contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Scale each image (N, C, S, S) about its own mean by (N,)."""
    mean = images.mean((1, 2, 3), keepdim=True)
    return mean + (images - mean) * factor[:, None, None, None]


def translate(images: Tensor, shift: Tensor) -> Tensor:
    """Shift each image (N, C, S, S) by whole pixels (N, 2) int64 to the right and down; zeros move in."""
    side = images.shape[3]
    source = torch.arange(side, device=images.device) - shift[:, :, None]
    inside = (source >= 0) & (source < side)
    columns, rows = source.clamp(0, side - 1).unbind(1)
    moved = images.gather(3, columns[:, None, None, :].expand_as(images))
    moved = moved.gather(2, rows[:, None, :, None].expand_as(images))
    return moved * (inside[:, 0, None, None, :] & inside[:, 1, None, :, None])


def cut_out(images: Tensor, corner: Tensor, size: int) -> Tensor:
    """Set a square of ``size`` pixels to zero in each image (N, C, S, S); its corner (N, 2) may lie outside."""
    distance = torch.arange(images.shape[3], device=images.device) - corner[:, :, None]
    within = (distance >= 0) & (distance < size)
    return images * ~(within[:, 0, None, None, :] & within[:, 1, None, :, None])


def _uniform(count: int, limits: tuple[float, float], chance: torch.Generator) -> Tensor:
    return torch.rand(count, generator=chance, device=chance.device) * (limits[1] - limits[0]) + limits[0]


def _random_colour(images: Tensor, image_channels: int, chance: torch.Generator) -> Tensor:
    pictures, masks = images[:, :image_channels], images[:, image_channels:]
    pictures = brighten(pictures, _uniform(len(images), BRIGHTNESS, chance))
    pictures = saturate(pictures, _uniform(len(images), SATURATION, chance))
    pictures = change_contrast(pictures, _uniform(len(images), CONTRAST, chance))
    return torch.cat([pictures, masks], 1)


def _random_translation(images: Tensor, image_channels: int, chance: torch.Generator) -> Tensor:
    del image_channels
    reach = int(images.shape[3] * TRANSLATION + 0.5)
    size = (len(images), 2)
    return translate(images, torch.randint(-reach, reach + 1, size, generator=chance, device=chance.device))


def _random_cutout(images: Tensor, image_channels: int, chance: torch.Generator) -> Tensor:
    del image_channels
    side = images.shape[3]
    size = int(side * CUTOUT + 0.5)
    # The centre is uniform on the image, edges included: between pixels for an even size, on one for an odd size.
    centre = torch.randint(0, side + 1 - size % 2, (len(images), 2), generator=chance, device=chance.device)
    return cut_out(images, centre - size // 2, size)


_PARTS: dict[str, Callable[[Tensor, int, torch.Generator], Tensor]] = {
    "colour": _random_colour,
    "translation": _random_translation,
    "cutout": _random_cutout,
}


def augment(
    images: Tensor,
    strength: Tensor,
    image_channels: int,
    chance: torch.Generator,
    policy: tuple[str, ...] = ("colour", "translation", "cutout"),
) -> Tensor:
    """Augment every image (N, C, S, S) in [-1, 1] by every part of the policy, in order; masks keep their values."""
    del strength
    for part in policy:
        images = _PARTS[part](images, image_channels, chance)
    return images
