"""A small pair of networks of every architecture, and the tools of the tests of their layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from sonoforge.training.gan.networks import ARCHITECTURES

CLASSES = 3
LATENT = 8  # numbers in a latent: one for each of the most blocks that a network here has


class Pools(nn.Module):
    """A frozen network that is linear, so that its maps are known: means of 2x2, 4x4 and 8x8 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1), requires_grad=False)

    def forward(self, images: Tensor) -> list[Tensor]:
        return [avg_pool2d(images, side).repeat(1, number, 1, 1) for number, side in ((2, 2), (3, 4), (4, 8))]


class Tiny(NamedTuple):
    """A pair of networks with few maps."""

    architecture: str
    generator: dict[str, Any]
    discriminator: dict[str, Any]
    conditionings: tuple[str, ...] = ("none", "projection", "auxiliary")


_WIDTH = {"width": 2}
_STYLED = {"style_size": 10, "mapping_layers": 2, "channel_base": 256, "channel_max": 6}
# One group: groups of neighbours would make a score depend on the order of the batch.
_JUDGE = {"channel_base": 256, "channel_max": 6, "group": 64}
_ALIAS_FREE = {**_STYLED, "layers": 4}
NETWORKS = {
    "dcgan-thesis": Tiny("dcgan-thesis", {}, {}),
    "dcgan": Tiny("dcgan", _WIDTH, _WIDTH),
    "dcgan critic": Tiny("dcgan", _WIDTH, {**_WIDTH, "norm": "none"}),
    "began": Tiny("began", _WIDTH, {**_WIDTH}, ("none", "concatenation")),
    "biggan": Tiny("biggan", _WIDTH, _WIDTH),
    "ga-gan": Tiny("ga-gan", {**_WIDTH, "cell": "{3, 24-6, [2]}"}, {**_WIDTH, "cell": "{3, 18-7, []}"}),
    "spade": Tiny("spade", {**_WIDTH, "structures": 1, "maps": 4}, _WIDTH, ("none",)),
    "projected": Tiny("projected", _WIDTH, {"width": 3, "image_channels": 1}, ("none", "projection")),
    "stylegan1": Tiny("stylegan1", _STYLED, _JUDGE),
    "stylegan2": Tiny("stylegan2", _STYLED, {**_JUDGE, "mapping_layers": 2}, ("none", "projection")),
    "stylegan3-t": Tiny("stylegan3", _ALIAS_FREE, _JUDGE, ("none", "projection")),
    "stylegan3-r": Tiny("stylegan3", {**_ALIAS_FREE, "config": "r"}, _JUDGE, ("none",)),
}
CASES = [(name, conditioning) for name, tiny in NETWORKS.items() for conditioning in tiny.conditionings]


def build_discriminator(name: str, size: int = 32, classes: int = 0, conditioning: str = "none") -> Any:
    """A discriminator of two channels with torch's initial weights."""
    tiny = NETWORKS[name]
    frozen = {"frozen": Pools()} if name == "projected" else {}
    return ARCHITECTURES[tiny.architecture].discriminator(
        image_size=size, channels=2, classes=classes, conditioning=conditioning, **tiny.discriminator, **frozen
    )


def small_pair(name: str, conditioning: str = "none", size: int = 32) -> tuple[Any, Any]:
    """Both networks for two channels, with weights from a fixed seed; latents of length `LATENT`."""
    tiny, classes = NETWORKS[name], 0 if conditioning == "none" else CLASSES
    architecture = ARCHITECTURES[tiny.architecture]
    networks = (
        architecture.generator(image_size=size, channels=2, latent_size=LATENT, classes=classes, **tiny.generator),
        build_discriminator(name, size, classes, conditioning),
    )
    for seed, network in enumerate(networks):
        architecture.initialise(network, torch.Generator().manual_seed(seed))
        # Away from the initial values, at which DCGAN's images differ from grey by less than rounding shows.
        with torch.no_grad():
            for part, values in network.named_parameters():
                if part.endswith("noise_strength"):
                    values.fill_(0.3)
                elif values.ndim == 0:
                    values.fill_(0.5)  # BigGAN's self-attention begins with none
                elif values.ndim > 1 and float(values.std()) < 0.1:
                    values.mul_(10).add_(0.1 * torch.randn_like(values) if "placement" in part else 0)
    if name == "spade":
        networks[0].keep_maps(draw_images(4, size)[:, :1] > 0)
    return networks


def draw_latents(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, LATENT, generator=torch.Generator().manual_seed(seed))


def draw_images(count: int, size: int = 32, seed: int = 1) -> Tensor:
    return torch.rand(count, 2, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def labels_in_turn(conditioning: str, count: int) -> Tensor | None:
    return None if conditioning == "none" else torch.arange(count) % CLASSES


def layer_shapes(
    network: nn.Module, value: Tensor, kinds: type[nn.Module] | tuple[type[nn.Module], ...]
) -> list[tuple[int, ...]]:
    """(height, width, maps) after each layer of these kinds, in the order in which they run."""
    shapes: list[tuple[int, ...]] = []
    hooks = [
        module.register_forward_hook(lambda _, __, output: shapes.append((*output.shape[2:], output.shape[1])))
        for module in network.modules()
        if isinstance(module, kinds)
    ]
    with torch.no_grad():
        network(value)
    for hook in hooks:
        hook.remove()
    return shapes


def on_meta(build: Callable[[], Any]) -> Any:
    """Full-size networks without memory or arithmetic: shapes only."""
    with torch.device("meta"):
        return build()


def count_weights(network: nn.Module) -> int:
    return sum(values.numel() for values in network.parameters())
