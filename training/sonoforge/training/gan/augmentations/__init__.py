"""The augmentations of real and generated images alike, before the discriminator sees them.

A new augmentation is one file and one row of `AUGMENTATIONS`.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from sonoforge.training.gan.augmentations import ada, diffaugment

# (images (N, C, S, S) in [-1, 1], strength: a scalar in [0, 1], image channels, source of random numbers on the
# images' device) -> images of the same shape, differentiable twice.  Channels after the image channels are masks:
# they move with the image and keep their values.
Augment = Callable[[Tensor, Tensor, int, torch.Generator], Tensor]


class Augmentation(NamedTuple):
    """One augmentation."""

    apply: Augment
    # Whether its strength is a probability that adapts to overfitting (`ada.adapt`); others ignore it.
    adaptive: bool = False
    needs: tuple[str, ...] = ()  # names in `settings.NEEDS`


AUGMENTATIONS: dict[str, Augmentation] = {
    "none": Augmentation(lambda images, *_: images),
    "diffaugment": Augmentation(diffaugment.augment),
    "diffaugment-colour-translation": Augmentation(partial(diffaugment.augment, policy=("colour", "translation"))),
    "diffaugment-translation-cutout": Augmentation(partial(diffaugment.augment, policy=("translation", "cutout"))),
    "ada": Augmentation(ada.augment, adaptive=True, needs=("signed scores",)),
    "ada-full": Augmentation(partial(ada.augment, transforms=ada.FULL), adaptive=True, needs=("signed scores",)),
}
