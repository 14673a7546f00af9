"""A pair of networks with a name: what a file of networks declares of itself, and a recipe's row asks for."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import nn

from sonoforge.models.spectral import draw_weights


class Architecture(NamedTuple):
    """A pair of networks, and how they are built.

    A file declares its pairs by name in a dict ``ARCHITECTURES``, by which `networks.ARCHITECTURES` of the training
    finds them.  Generators take ``image_size``, ``channels``, ``latent_size``, ``classes`` and their own options;
    discriminators ``conditioning`` in place of ``latent_size``.
    """

    generator: Callable[..., nn.Module]
    discriminator: Callable[..., nn.Module]
    initialise: Callable[[Any, torch.Generator], None] = draw_weights  # draws the initial weights of either network
    # From a number of channels, of the widest or the base layer, to the options of either network.
    width_options: Callable[[int], dict[str, int]] = lambda width: {"width": width}
    # From the images in one forward pass to the options of the generator that depend on them.
    batch_options: Callable[[int], dict[str, float]] = lambda images: {}
    free_hidden: tuple[str, ...] = ()  # which of `activation` and `norm` both networks let a user change
    reconstruction: bool = False  # whether the discriminator's scores are reconstruction errors
    cells: bool = False  # whether either network has a `cell`, which is a code
    projected: bool = False  # whether the discriminator sees images through a frozen feature network
    needs: tuple[str, ...] = ()  # of the discriminator: names in `settings.NEEDS` of the training


def from_settings(network: Callable[..., nn.Module], settings: Callable[..., object]) -> Callable[..., nn.Module]:
    """Return a function of keyword options for a network that is built from an object of settings."""
    return lambda **options: network(settings(**options))
