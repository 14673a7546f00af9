"""The state of a training, to and from checkpoints: networks, optimisers, and numbers carried from step to step."""

import copy
import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.synthetic import HALF
from sonoforge.training.data.pixels import to_tensor
from sonoforge.training.data.selection import evenly_spaced
from sonoforge.training.gan import checkpoint as gan_checkpoint
from sonoforge.training.gan.augmentations import AUGMENTATIONS, Augment
from sonoforge.training.gan.augmentations.ada import START as ADAPTIVE_START
from sonoforge.training.gan.distributed import share_batch_norm
from sonoforge.training.gan.generator import structures_drawn_into
from sonoforge.training.gan.losses import LOSSES, Loss, perceptual_loss
from sonoforge.training.gan.networks import build_networks
from sonoforge.training.gan.optimisers import build_optimiser, optimiser_tensors, restore_optimiser
from sonoforge.training.gan.recipes import OptimiserSettings, Recipe
from sonoforge.training.gan.regularisers import REGULARISERS
from sonoforge.training.gan.shapes import draw_masks, learn_shapes
from sonoforge.training.gan.training import Training
from sonoforge.training.gan.transfer import freeze, transfer_weights

NETWORKS = ("generator", "discriminator", "average")
OPTIMISERS = ("generator_optimiser", "discriminator_optimiser")


@dataclasses.dataclass
class TrainingState:
    """Both networks, and everything that changes from one step to the next."""

    fabric: Fabric  # device, precision and processes
    recipe: Recipe  # with all settings applied
    loss: Loss
    augment: Augment  # of the discriminator's inputs
    # The perceptual term of (generated, real), both (N, C, S, S) in [-1, 1]; or None.
    perceptual: Callable[[Tensor, Tensor], Tensor] | None
    generator: nn.Module
    discriminator: nn.Module
    average: nn.Module  # exponential moving average of the generator, in evaluation mode
    generator_optimiser: torch.optim.Optimizer  # steps the generator
    discriminator_optimiser: torch.optim.Optimizer  # steps the discriminator's parameters that are not frozen
    # The two networks as called in plain passes, compiled on request.
    forward: tuple[Callable[..., Any], Callable[..., Any]]
    # Numbers that the loss, the regularisers and the augmentation carry along, by part and name.
    carried: dict[str, dict[str, Tensor]]
    image_channels: int  # channels that are image; those after them are masks
    accumulate: int  # parts that a batch is computed in
    seed: int
    blur_sigma: float = 0.0  # pixels: current standard deviation of the blur of the discriminator's inputs

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """Return everything that changes as named tensors, by the stem of their checkpoint file."""
        numbers = {f"{part}.{name}": value for part, values in self.carried.items() for name, value in values.items()}
        scaler = self.fabric.strategy.precision.state_dict()
        numbers |= {f"scaler.{name}": torch.tensor(float(value)) for name, value in scaler.items()}
        return {
            **{name: getattr(self, name).state_dict() for name in NETWORKS},
            **{name: optimiser_tensors(getattr(self, name)) for name in OPTIMISERS},
            "state": numbers,
        }

    def restore(self, checkpoint: Path) -> None:
        """Load the `tensors` of a checkpoint.

        Raises:
            SonoforgeError: The checkpoint is damaged.
        """
        try:
            states = {stem: gan_checkpoint.load_state(checkpoint, stem) for stem in (*NETWORKS, *OPTIMISERS, "state")}
        except SonoforgeError as error:
            raise SonoforgeError(f"{error}: remove {checkpoint} to continue from the one before") from error
        for name in NETWORKS:
            getattr(self, name).load_state_dict(states[name])
        for name in OPTIMISERS:
            restore_optimiser(getattr(self, name), states[name])
        scaler = {}
        for key, value in states["state"].items():
            part, _, name = key.partition(".")
            if part == "scaler":
                scaler[name] = int(value) if name in ("growth_interval", "_growth_tracker") else float(value)
            else:
                self.carried[part][name] = value.to(self.fabric.device)
        self.fabric.strategy.precision.load_state_dict(scaler)


def build_state(fabric: Fabric, training: Training, checkpoint: Path | None = None) -> TrainingState:
    """Build the state at step 0, or of a checkpoint, on a launched ``fabric``.

    Raises:
        SonoforgeError: The settings freeze blocks that the networks do not have.
    """
    recipe, settings, own = training.recipe, training.settings, training.pretrained
    generator, discriminator = build_networks(recipe, training.options, settings.seed, training.seen)
    freeze(generator, settings.freeze_generator)
    freeze(discriminator, settings.freeze_discriminator)
    if own.start_from is not None and checkpoint is None:
        transfer_weights(own.start_from, generator, discriminator)
    if structures_drawn_into(generator):
        _keep_maps(generator, training)
    average = copy.deepcopy(generator).eval().requires_grad_(False)
    generator, discriminator, average = (fabric.to_device(each) for each in (generator, discriminator, average))
    if fabric.world_size > 1:
        share_batch_norm(generator)
        share_batch_norm(discriminator)

    def optimiser(name: str, published: OptimiserSettings, network: nn.Module) -> Any:
        parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        lazy = [each.interval for key, each in recipe.regularisers.items() if REGULARISERS[key].of == name]
        made = build_optimiser(published, parameters, max(lazy, default=1), fused=settings.precision != "fp16")
        return fabric.setup_optimizers(made)

    image_channels = training.originals.image_channels
    perceptual = None
    if recipe.perceptual_weight and own.features is not None:
        perceptual = functools.partial(perceptual_loss, own.features, image_channels=image_channels)
    augmentation = AUGMENTATIONS[recipe.augmentation]
    carried = {"loss": LOSSES[recipe.loss].start}
    carried |= {"augmentation": ADAPTIVE_START} if augmentation.adaptive else {}
    carried |= {name: REGULARISERS[name].start for name in recipe.regularisers}
    networks = (generator, discriminator)
    state = TrainingState(
        fabric=fabric,
        recipe=recipe,
        loss=LOSSES[recipe.loss],
        augment=augmentation.apply,
        perceptual=perceptual,
        generator=generator,
        discriminator=discriminator,
        average=average,
        generator_optimiser=optimiser("generator", recipe.generator_optimiser, generator),
        discriminator_optimiser=optimiser("discriminator", recipe.discriminator_optimiser, discriminator),
        forward=(torch.compile(generator), torch.compile(discriminator)) if settings.compile else networks,
        carried={
            part: {name: torch.tensor(float(value), device=fabric.device) for name, value in values.items()}
            for part, values in carried.items()
        },
        image_channels=image_channels,
        accumulate=settings.accumulate,
        seed=settings.seed,
    )
    if checkpoint is not None:
        state.restore(checkpoint)
    return state


def _keep_maps(generator: Any, training: Training) -> None:
    """Let a generator that draws into label maps keep those of training images, evenly spaced, or new ones."""
    images, count = training.originals, len(generator.kept)
    if training.recipe.kept_maps == "shapes":
        model = learn_shapes(images.pixels[..., images.image_channels] >= HALF)
        masks = draw_masks(model, count, training.plan.image_size, training.settings.seed)
        generator.keep_maps(torch.from_numpy(masks)[:, None])
        return
    chosen = images.pixels[evenly_spaced(len(images), count), ..., images.image_channels :]
    generator.keep_maps(to_tensor(chosen) >= HALF)
