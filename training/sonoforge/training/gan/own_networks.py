"""Adapt a user's own networks to the training loop, and check them once at the border.

``Generator(image_size, channels, latent_size)`` maps latents (N, Z) to images (N, C, S, S) in [-1, 1];
``Discriminator(image_size, channels)`` maps images to scores (N,) or (N, 1), large if an image looks real.  For
class-conditional training both take ``classes`` (0: none) and, after their input, labels (N,) int64; the discriminator
may take ``conditioning``, and return a pair of scores and class logits (N, K).  Options of a recipe's ``generator`` and
``discriminator`` are further arguments.  Initial weights are those that the classes draw.
"""

import functools
import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from sonoforge.models.layers import Architecture
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.own_code import OwnCode, blaming

_BEYOND = 1.001  # largest absolute value of an image


@functools.cache
def adapt(own: OwnCode, module: ModuleType) -> Architecture:
    """Return the pair of networks that some code defines; raise `SonoforgeError` if it lacks one."""
    found: dict[str, Any] = {name: getattr(module, name, None) for name in ("Generator", "Discriminator")}
    for name, network in found.items():
        if not (isinstance(network, type) and issubclass(network, nn.Module)):
            raise SonoforgeError(f"{own.file}: defines no class {name}(torch.nn.Module)")
    generator, discriminator = found.values()

    class OwnGenerator(generator):  # type: ignore[valid-type, misc]
        def forward(self, latents: Tensor, labels: Tensor | None = None) -> Any:
            return super().forward(latents, *([labels] if _labelled(generator) else []))

    class OwnDiscriminator(discriminator):  # type: ignore[valid-type, misc]
        def forward(self, images: Tensor, labels: Tensor | None = None) -> Any:
            answer = super().forward(images, *([labels] if _labelled(discriminator) else []))
            scores, logits = answer if isinstance(answer, tuple) else (answer, None)
            return scores.squeeze(1) if scores.shape[1:] == (1,) else scores, logits

    @functools.wraps(generator, updated=())  # whose arguments are asked for
    def build(**options: Any) -> nn.Module:
        network: nn.Module = _build(own, OwnGenerator, generator, options)
        network.latent_size, network.classes = options["latent_size"], options["classes"]
        return network

    return Architecture(
        build,
        lambda **options: _build(own, OwnDiscriminator, discriminator, options),
        initialise=lambda network, chance: None,
    )


def _labelled(network: type[nn.Module]) -> bool:
    """Whether it takes labels after its input."""
    return len(inspect.signature(network.forward).parameters) > 2


def _build(own: OwnCode, kind: Callable[..., Any], network: type[nn.Module], options: dict[str, Any]) -> Any:
    taken = inspect.signature(network).parameters
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken.values()):
        for name in options.keys() - taken.keys() - {"conditioning"}:
            if name != "classes" or options[name]:
                raise SonoforgeError(f"{own.file}: {network.__name__} takes no argument {name}, here {options[name]!r}")
        options = {name: value for name, value in options.items() if name in taken}
    with blaming(own):
        return kind(**options)


def check_answers(own: OwnCode, networks: tuple[nn.Module, nn.Module], options: dict[str, Any]) -> None:
    """Let both networks answer for two images; raise `SonoforgeError` if shapes or the range are not as above."""
    generator, discriminator = networks
    size, channels, classes = options["image_size"], options["channels"], options["classes"]
    labels = torch.arange(2) % classes if classes else None
    latents = torch.randn(2, options["latent_size"], generator=torch.Generator().manual_seed(0))
    with blaming(own), torch.random.fork_rng(devices=[]), torch.no_grad():
        images = generator.eval()(latents, labels)
        scores, logits = discriminator.eval()(torch.zeros(2, channels, size, size), labels)
    expected = (2, channels, size, size)
    if tuple(images.shape) != expected:
        raise SonoforgeError(f"{own.file}: Generator makes {tuple(images.shape)} of 2 latents, not {expected}")
    if not images.abs().max() <= _BEYOND:
        low, high = images.min(), images.max()
        raise SonoforgeError(f"{own.file}: Generator makes images from {low:.3g} to {high:.3g}; end it in tanh")
    if tuple(scores.shape) != (2,):
        raise SonoforgeError(f"{own.file}: Discriminator makes {tuple(scores.shape)} of 2 images, not one score each")
    if (options["conditioning"] == "auxiliary") != (logits is not None):
        raise SonoforgeError(
            f"{own.file}: Discriminator returns {'no' if logits is None else 'unexpected'} class logits; conditioning "
            "auxiliary needs the pair (scores, logits), any other scores alone"
        )
