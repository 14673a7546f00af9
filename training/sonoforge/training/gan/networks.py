"""Build the networks of recipes with their initial weights.

A new pair of networks is one file of `sonoforge.models`; with its row of ``recipes.json`` it can be trained.
"""

import importlib
import pkgutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sonoforge import models
from sonoforge.models.layers import Architecture
from sonoforge.models.stylegan.layers import eager_on_cpu
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.seeds import derive_seed
from sonoforge.training import own_code
from sonoforge.training.evaluation.features import Features
from sonoforge.training.gan.own_networks import adapt
from sonoforge.training.gan.recipes import Recipe

if TYPE_CHECKING:
    from typing import Self  # since Python 3.11

# Every pair of networks by name: what the files of `sonoforge.models` declare.
ARCHITECTURES: dict[str, Architecture] = {
    name: architecture
    for module in pkgutil.walk_packages(models.__path__, "sonoforge.models.")
    for name, architecture in getattr(importlib.import_module(module.name), "ARCHITECTURES", {}).items()
}


def find_architecture(name: str, checkpoint: Path | None = None) -> Architecture:
    """Return the pair of networks of this name, or of the user's own code, a copy of which is in the checkpoint.

    Raises:
        SonoforgeError: There is none, or own code is not allowed, fails or lacks a network.
    """
    if name in ARCHITECTURES:
        return ARCHITECTURES[name]
    if not own_code.is_own(name):
        raise SonoforgeError(f"{checkpoint}: architecture {name!r} is not one of {', '.join(ARCHITECTURES)}")
    return adapt(*own_code.run(name, checkpoint))


def channels_last(network: nn.Module) -> nn.Module:
    """Store the weights as (out, height, width, in): 10 to 15 % faster steps on a CPU, more on a GPU."""
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


class Seen(NamedTuple):
    """A projected discriminator's feature network, and the sample's channels that it sees."""

    features: Features
    image_channels: int  # the channels after them are masks


def discriminator_of(recipe: Recipe) -> Architecture:
    """Return the architecture of the recipe's discriminator."""
    return find_architecture(recipe.discriminator_architecture or recipe.architecture)


def build_networks(
    recipe: Recipe, options: Mapping[str, Any], seed: int, seen: Seen | None = None
) -> tuple[nn.Module, nn.Module]:
    """Build both networks with their initial weights, leaving torch's global random state alone.

    ``options``: see `training.options_of_generator`; ``seen``: only for a projected discriminator.

    Raises:
        SonoforgeError: The architecture cannot be built with these options, for example at this size.
    """
    seeds = [derive_seed(seed, purpose) for purpose in ("generator weights", "discriminator weights")]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seeds[1])
        networks = _make(recipe, options, seen)
        architectures = (find_architecture(recipe.architecture), discriminator_of(recipe))
        for network, architecture, own_seed in zip(networks, architectures, seeds, strict=True):
            architecture.initialise(network, torch.Generator().manual_seed(own_seed))
    if recipe.polished:
        networks[0].polish()  # type: ignore[operator]
    for network in networks:
        channels_last(network)
    return networks


def outline_networks(
    recipe: Recipe, options: Mapping[str, Any], seen: Seen | None = None
) -> tuple[nn.Module, nn.Module]:
    """Build both networks on the meta device, without weights and at no cost; a frozen network stays unchanged."""
    with torch.device("meta"):
        return _make(recipe, options, seen)


def _make(recipe: Recipe, options: Mapping[str, Any], seen: Seen | None) -> tuple[nn.Module, nn.Module]:
    architecture = find_architecture(recipe.architecture)
    own = dict(recipe.discriminator)
    if discriminator_of(recipe).projected:
        if seen is None:
            raise SonoforgeError("features: missing, but the discriminator sees images through a feature network")
        own |= {"frozen": FrozenMaps(seen.features), "image_channels": seen.image_channels}
    try:
        return (
            architecture.generator(**options),
            discriminator_of(recipe).discriminator(
                image_size=options["image_size"],
                channels=own["image_channels"] if recipe.polished else options["channels"],
                classes=options["classes"],
                conditioning=recipe.conditioning,
                **own,
            ),
        )
    except (ValueError, TypeError) as error:
        raise SonoforgeError(f"the {recipe.architecture} networks: {error}") from error


SCALES = 4  # Sauer et al. 2021, section 3.1
FROZEN_BATCH = 16  # images whose maps a CPU computes together


class FrozenMaps(nn.Module):
    """A feature network's deepest maps at its four coarsest scales; shared, and always in evaluation mode."""

    def __init__(self, features: Features) -> None:
        super().__init__()
        self.network = features.module
        self._features = features

    def train(self, mode: bool = True) -> "Self":
        """Stay in evaluation mode: batch norm keeps the statistics that its weights were trained with."""
        del mode
        return super().train(False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Map images (N, 1 or 3, S, S) in [-1, 1] to feature maps, the finest first.

        On a CPU a large batch is computed in parts, and again for its gradient, because keeping all layers would take
        gigabytes.
        """
        if len(images) <= FROZEN_BATCH or not eager_on_cpu(images):
            return self._maps(images)
        parts = [checkpoint(self._maps, part, use_reentrant=False) for part in images.split(FROZEN_BATCH)]
        return [torch.cat(maps) for maps in zip(*parts, strict=True)]

    def _maps(self, images: Tensor) -> list[Tensor]:
        deepest = {maps.shape[2]: maps for maps in self._features.maps(images)}
        return [deepest[side] for side in sorted(deepest, reverse=True)[-SCALES:]]
