"""The networks of a training with their optimisers and numbers, put together and taken apart for checkpoints."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.gan import checkpoint as gan_checkpoint
from sonoforge.training.gan.augmentations import AUGMENTATIONS, Augment
from sonoforge.training.gan.augmentations.adaptive_p import START as ADAPTIVE_START
from sonoforge.training.gan.distributed.shared_batch_norm import share_batch_norm
from sonoforge.training.gan.networks import build_networks
from sonoforge.training.gan.objectives.losses import LOSSES, Loss
from sonoforge.training.gan.objectives.regularisers import REGULARISERS
from sonoforge.training.gan.optimisers import OptimiserSettings, build_optimiser, optimiser_tensors, restore_optimiser
from sonoforge.training.gan.recipes import Recipe
from sonoforge.training.gan.settings import GanSettings
from sonoforge.training.gan.starting_weights import StartingWeights
from sonoforge.training.gan.transfer import freeze, transfer_weights

# (generated, real): both (N, C, S, S) in [-1, 1], to a scalar.
PerceptualTerm = Callable[[Tensor, Tensor], Tensor]


@dataclasses.dataclass
class Players:
    """Two networks at play, and all that changes from one step to the next.

    Attributes:
        fabric: Device, precision and processes.
        recipe: With all settings applied.
        loss: The adversarial loss.
        augment: What the discriminator sees images through.
        perceptual: The perceptual term, or None.
        generator: Being trained.
        discriminator: Being trained.
        average: Exponential moving average of the generator, in evaluation mode.
        generator_optimiser: Steps the generator.
        discriminator_optimiser: Steps the discriminator's parameters that are not frozen.
        forward: The two networks as called in plain passes: compiled, where that was asked for.
        state: Numbers that the loss, the regularisers and the augmentation carry along, by part and name.
        image_channels: Channels that are image; those after them are masks.
        accumulate: Parts that a batch is computed in.
        seed: Of all draws.
        blur_sigma: Standard deviation in pixels of the blur that the discriminator sees images through, now.
    """

    fabric: Fabric
    recipe: Recipe
    loss: Loss
    augment: Augment
    perceptual: PerceptualTerm | None
    generator: nn.Module
    discriminator: nn.Module
    average: nn.Module
    generator_optimiser: torch.optim.Optimizer
    discriminator_optimiser: torch.optim.Optimizer
    forward: tuple[Callable[..., Any], Callable[..., Any]]
    state: dict[str, dict[str, Tensor]]
    image_channels: int
    accumulate: int
    seed: int
    blur_sigma: float = 0.0


def gather_players(
    fabric: Fabric,
    recipe: Recipe,
    settings: GanSettings,
    options: dict[str, Any],
    image_channels: int,
    perceptual: PerceptualTerm | None,
    start: StartingWeights | None = None,
) -> Players:
    """Build everything at step 0.

    Args:
        fabric: Launched.
        recipe: With all settings applied.
        settings: Of the training.
        options: From `networks.generator_options`.
        image_channels: Channels that are image.
        perceptual: The perceptual term, or None.
        start: Weights to start from, or None.

    Raises:
        SonoforgeError: The discriminator cannot be frozen as the settings say.
    """
    generator, discriminator = build_networks(recipe, options, settings.seed)
    freeze(discriminator, settings.freeze_discriminator)
    if start is not None:
        transfer_weights(start, generator, discriminator)
    average = copy.deepcopy(generator).eval().requires_grad_(False)
    networks = [fabric.to_device(network) for network in (generator, discriminator, average)]
    if fabric.world_size > 1:
        for network in networks[:2]:
            share_batch_norm(network)
    optimisers: list[Any] = [
        fabric.setup_optimizers(
            build_optimiser(
                own,
                [parameter for parameter in network.parameters() if parameter.requires_grad],
                _lazy_interval(recipe, name),
                fused=settings.precision != "fp16",
            )
        )
        for own, network, name in _by_name(recipe, networks)
    ]
    state = {"loss": dict(LOSSES[recipe.loss].start), "augmentation": dict(ADAPTIVE_START)}
    state |= {name: dict(REGULARISERS[name].start) for name in recipe.regularisers}
    if not AUGMENTATIONS[recipe.augmentation].adaptive:
        del state["augmentation"]
    return Players(
        fabric,
        recipe,
        LOSSES[recipe.loss],
        AUGMENTATIONS[recipe.augmentation].apply,
        perceptual,
        networks[0],
        networks[1],
        networks[2],
        optimisers[0],
        optimisers[1],
        (networks[0], networks[1])
        if not settings.compile
        else (torch.compile(networks[0]), torch.compile(networks[1])),
        {
            part: {name: torch.tensor(float(value), device=fabric.device) for name, value in values.items()}
            for part, values in state.items()
        },
        image_channels,
        settings.accumulate,
        settings.seed,
    )


def _by_name(recipe: Recipe, networks: list[nn.Module]) -> list[tuple[OptimiserSettings, nn.Module, str]]:
    return [
        (recipe.generator_optimiser, networks[0], "generator"),
        (recipe.discriminator_optimiser, networks[1], "discriminator"),
    ]


def _lazy_interval(recipe: Recipe, network: str) -> int:
    own = [strength.interval for name, strength in recipe.regularisers.items() if REGULARISERS[name].of == network]
    return max(own, default=1)


def players_tensors(players: Players) -> dict[str, dict[str, Tensor]]:
    """All that changes, as named tensors by the stem of their checkpoint file."""
    numbers = {f"{part}.{name}": value for part, values in players.state.items() for name, value in values.items()}
    scaler = players.fabric.strategy.precision.state_dict()
    numbers |= {f"scaler.{name}": torch.tensor(float(value)) for name, value in scaler.items()}
    return {
        "generator": players.generator.state_dict(),
        "discriminator": players.discriminator.state_dict(),
        "average": players.average.state_dict(),
        "generator_optimiser": optimiser_tensors(players.generator_optimiser),
        "discriminator_optimiser": optimiser_tensors(players.discriminator_optimiser),
        "state": numbers,
    }


def restore_players(players: Players, checkpoint: Path) -> None:
    """Put everything back as `players_tensors` took it.

    Raises:
        SonoforgeError: The checkpoint is damaged.
    """
    stems = ("generator", "discriminator", "average", "generator_optimiser", "discriminator_optimiser", "state")
    try:
        states = {stem: gan_checkpoint.load_state(checkpoint, stem) for stem in stems}
    except SonoforgeError as error:
        raise SonoforgeError(f"{error}: remove {checkpoint} to continue from the one before") from error
    for stem in stems[:3]:
        getattr(players, stem).load_state_dict(states[stem])
    for stem in stems[3:5]:
        restore_optimiser(getattr(players, stem), states[stem])
    scaler = {}
    for key, value in states["state"].items():
        part, _, name = key.partition(".")
        if part == "scaler":
            scaler[name] = int(value) if name in ("growth_interval", "_growth_tracker") else float(value)
        else:
            players.state[part][name] = value.to(players.fabric.device)
    players.fabric.strategy.precision.load_state_dict(scaler)
