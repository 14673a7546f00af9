"""Augment real and generated images alike, before the discriminator sees them.

A new augmentation is one function and one row of `AUGMENTATIONS`; ADA's are in `ada`.  DiffAugment is Zhao et al.,
"Differentiable Augmentation for Data-Efficient GAN Training", NeurIPS 2020: each of three kinds has a strength drawn
for each image at every use, from the ranges in section 3.1.  The order of the colour operations, the means that
saturation and contrast keep, and the places of squares follow the authors' code.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from sonoforge.models.mobilenetv2 import import_torchvision
from sonoforge.training.gan import ada

# (images (N, C, S, S) in [-1, 1], strength: a scalar in [0, 1], image channels, source of random numbers on the
# images' device) -> images of the same shape, differentiable twice.  Channels after the image channels are masks:
# they move with the image and keep their values.
Augment = Callable[[Tensor, Tensor, int, torch.Generator], Tensor]

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


def _uniform(count: int, limits: tuple[float, float], chance: torch.Generator) -> Tensor:
    return torch.rand(count, generator=chance, device=chance.device) * (limits[1] - limits[0]) + limits[0]


def diffaugment(
    images: Tensor,
    strength: Tensor,
    image_channels: int,
    chance: torch.Generator,
    policy: tuple[str, ...] = ("colour", "translation", "cutout"),
) -> Tensor:
    """Augment every image (N, C, S, S) in [-1, 1] with every part of the policy; masks keep their values."""
    del strength
    count, side = len(images), images.shape[3]
    if "colour" in policy:
        pictures, masks = images[:, :image_channels], images[:, image_channels:]
        pictures = brighten(pictures, _uniform(count, BRIGHTNESS, chance))
        pictures = saturate(pictures, _uniform(count, SATURATION, chance))
        pictures = change_contrast(pictures, _uniform(count, CONTRAST, chance))
        images = torch.cat([pictures, masks], 1)
    if "translation" in policy:
        reach = int(side * TRANSLATION + 0.5)
        shift = torch.randint(-reach, reach + 1, (count, 2), generator=chance, device=chance.device)
        images = translate(images, shift)
    if "cutout" in policy:
        size = int(side * CUTOUT + 0.5)
        # The centre is uniform on the image, edges included: between pixels for an even size, on one for an odd size.
        centre = torch.randint(0, side + 1 - size % 2, (count, 2), generator=chance, device=chance.device)
        distance = torch.arange(side, device=images.device) - (centre - size // 2)[:, :, None]
        within = (distance >= 0) & (distance < size)
        images = images * ~(within[:, 0, None, None, :] & within[:, 1, None, :, None])
    return images


class Augmentation(NamedTuple):
    """One augmentation."""

    apply: Augment
    # Whether its strength is a probability that adapts to overfitting (`ada.adapt`); others ignore it.
    adaptive: bool = False
    needs: tuple[str, ...] = ()  # names in `settings.NEEDS`


AUGMENTATIONS: dict[str, Augmentation] = {
    "none": Augmentation(lambda images, *_: images),
    "diffaugment": Augmentation(diffaugment),
    "diffaugment-colour-translation": Augmentation(partial(diffaugment, policy=("colour", "translation"))),
    "ada": Augmentation(ada.augment, adaptive=True, needs=("signed scores",)),
}


# Karras et al., "Alias-Free Generative Adversarial Networks", NeurIPS 2021, appendix: without a blur that fades early
# in the training, the discriminator of configuration R learns to look at high frequencies only.
BLUR_START = 10.0  # pixels: the standard deviation at the first step, whatever the size of the images
_BLUR_REACH = 3  # standard deviations on each side


def blur_sigma(images_shown: int, fade: int) -> float:
    """Return the standard deviation in pixels: from `BLUR_START` linearly to 0 over ``fade`` images."""
    return BLUR_START * max(0.0, 1.0 - images_shown / fade) if fade else 0.0


def blur(images: Tensor, sigma: float) -> Tensor:
    """Blur (N, C, S, S) with a Gaussian of at most three standard deviations per side, reflecting borders."""
    reach = min(math.floor(_BLUR_REACH * sigma), images.shape[-1] - 1)
    if reach < 1:
        return images
    blurred: Tensor = import_torchvision().transforms.functional.gaussian_blur(images, [2 * reach + 1] * 2, [sigma] * 2)
    return blurred
