"""Small pairs of DCGAN, BEGAN, ProGAN, BigGAN and GA-GAN networks with what tests of their layers need."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sonoforge.models import began, biggan, dcgan, ga_gan
from sonoforge.models.spectral import draw_weights
from sonoforge.models.stylegan import layers, progan

CLASSES = 3
LATENT = 8  # numbers in a latent: one for each of the most blocks that a network here has


class Tiny(NamedTuple):
    """A pair of networks with few maps, for tests of what does not depend on their number."""

    module: ModuleType
    generator: dict[str, Any]
    discriminator: dict[str, Any]
    conditionings: tuple[str, ...] = ("none", "projection", "auxiliary")

    def initialise(self, network: nn.Module, generator: torch.Generator) -> None:
        """Draw the weights of either network."""
        shared = {biggan: draw_weights, ga_gan: draw_weights, progan: layers.initialise}
        (shared.get(self.module) or self.module.initialise)(network, generator)


THESIS: Any = SimpleNamespace(
    Generator=dcgan.ThesisGenerator, Discriminator=dcgan.ThesisDiscriminator, initialise=dcgan.initialise
)

NETWORKS = {
    "dcgan_thesis": Tiny(THESIS, {}, {}),
    "dcgan": Tiny(dcgan, {"width": 2}, {"width": 2}),
    "dcgan critic": Tiny(dcgan, {"width": 2}, {"width": 2, "hidden": dcgan.Hidden(norm="none")}),
    "began": Tiny(began, {"width": 2}, {"width": 2, "embedding": 5}, ("none", "concatenation")),
    # One group: groups of neighbours would make a score depend on the order of the batch.
    "biggan": Tiny(biggan, {"width": 2}, {"width": 2}),
    "ga_gan": Tiny(
        ga_gan,
        {"width": 2, "cells": ga_gan.Cells("{3, 24-6, [2]}")},
        {"width": 2, "cells": ga_gan.Cells("{3, 18-7, []}")},
    ),
    "progan": Tiny(progan, {"width": 4}, {"width": 4, "group": 64}),
}
CASES = [(name, conditioning) for name, tiny in NETWORKS.items() for conditioning in tiny.conditionings]


def small_pair(name: str, conditioning: str = "none", size: int = 32, channels: int = 2) -> tuple[nn.Module, nn.Module]:
    """Both networks with weights from a fixed seed; latents of length `LATENT`."""
    tiny = NETWORKS[name]
    classes = 0 if conditioning == "none" else CLASSES
    networks = (
        tiny.module.Generator(size, channels, LATENT, classes, **tiny.generator),
        tiny.module.Discriminator(size, channels, classes, conditioning, **tiny.discriminator),
    )
    for seed, network in enumerate(networks):
        tiny.initialise(network, torch.Generator().manual_seed(seed))
        # Away from the initial values, at which DCGAN's images differ from grey by less than rounding shows.
        _scale_up(network)
    return networks


@torch.no_grad()
def _scale_up(network: nn.Module) -> None:
    for values in network.parameters():
        if values.ndim == 0:
            values.fill_(0.5)  # BigGAN's self-attention begins with none
        elif values.ndim > 1 and float(values.std()) < 0.1:
            values.mul_(10)


def draw_latents(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, LATENT, generator=torch.Generator().manual_seed(seed))


def draw_images(count: int, size: int = 32, seed: int = 1) -> Tensor:
    return torch.rand(count, 2, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def labels_in_turn(conditioning: str, count: int, first: int = 0) -> Tensor | None:
    return None if conditioning == "none" else (torch.arange(count) + first) % CLASSES


def layer_shapes(
    network: nn.Module, value: Tensor, kinds: type[nn.Module] | tuple[type[nn.Module], ...]
) -> list[tuple[int, ...]]:
    """(height, width, maps) after each layer of these kinds, in the order in which they run."""
    shapes: list[tuple[int, ...]] = []

    def note(module: nn.Module, inputs: object, output: Tensor) -> None:
        shapes.append((*output.shape[2:], output.shape[1]))

    hooks = [module.register_forward_hook(note) for module in network.modules() if isinstance(module, kinds)]
    with torch.no_grad():
        network(value)
    for hook in hooks:
        hook.remove()
    return shapes


def on_meta(build: Callable[[], nn.Module]) -> nn.Module:
    """Full-size networks without memory or arithmetic: shapes only."""
    with torch.device("meta"):
        return build()


def count_weights(network: nn.Module) -> int:
    return sum(values.numel() for values in network.parameters())
