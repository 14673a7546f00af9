"""Save and load the state of a training run: networks, optimisers, and numbers carried from step to step."""

import contextlib
import copy
import dataclasses
import functools
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.synthetic import HALF
from sonoforge.training.data.pixels import to_tensor
from sonoforge.training.data.selection import evenly_spaced
from sonoforge.training.devices import find_device
from sonoforge.training.gan import augmentations, losses, networks, recipes, regularisers, start_from
from sonoforge.training.gan import checkpoint as gan_checkpoint
from sonoforge.training.gan.ada import START as ADAPTIVE_START
from sonoforge.training.gan.generator import structures_drawn_into
from sonoforge.training.gan.training import Training

NETWORKS = ("generator", "discriminator", "average")
OPTIMISERS = ("generator_optimiser", "discriminator_optimiser")


@dataclasses.dataclass
class TrainingState:
    """Both networks, and everything that changes from one step to the next."""

    device: torch.device
    recipe: recipes.Recipe  # with all settings applied
    loss: losses.Loss
    augment: augmentations.Augment  # of the discriminator's inputs
    # The perceptual term of (generated, real), both (N, C, S, S) in [-1, 1]; or None.
    perceptual: Callable[[Tensor, Tensor], Tensor] | None
    generator: nn.Module
    discriminator: nn.Module
    average: nn.Module  # exponential moving average of the generator, in evaluation mode
    generator_optimiser: torch.optim.Optimizer
    discriminator_optimiser: torch.optim.Optimizer  # of the parameters that are not frozen
    # Numbers that the loss, the regularisers and the augmentation carry along, by part and name.
    carried: dict[str, dict[str, Tensor]]
    image_channels: int  # channels that are image; those after them are masks
    seed: int
    mixed_precision: bool = False  # whether plain passes compute in bfloat16
    early: nn.Module | None = None  # the average of an earlier step, if the recipe guides away from it
    blur_sigma: float = 0.0  # pixels: current standard deviation of the blur of the discriminator's inputs

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Compute in bfloat16 inside, if the training is in mixed precision."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.mixed_precision)

    @property
    def networks(self) -> tuple[str, ...]:
        """The networks that checkpoints keep."""
        return NETWORKS if self.early is None else (*NETWORKS, "early")

    def of(self, name: str) -> tuple[nn.Module, torch.optim.Optimizer]:
        """Return a network and its optimiser."""
        return getattr(self, name), getattr(self, f"{name}_optimiser")

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """Return everything that changes as named tensors, by the stem of their checkpoint file."""
        return {
            **{name: getattr(self, name).state_dict() for name in self.networks},
            **{name: optimiser_tensors(getattr(self, name)) for name in OPTIMISERS},
            "state": {f"{part}.{name}": own for part, values in self.carried.items() for name, own in values.items()},
        }

    def restore(self, checkpoint: Path) -> None:
        """Load the `tensors` of a checkpoint.

        Raises:
            SonoforgeError: The checkpoint is damaged.
        """
        try:
            stems = (*self.networks, *OPTIMISERS, "state")
            states = {stem: gan_checkpoint.load_state(checkpoint, stem) for stem in stems}
        except SonoforgeError as error:
            raise SonoforgeError(f"{error}: remove {checkpoint} to continue from the previous one") from error
        for name in self.networks:
            getattr(self, name).load_state_dict(states[name])
        for name in OPTIMISERS:
            restore_optimiser(getattr(self, name), states[name])
        for key, value in states["state"].items():
            part, _, name = key.partition(".")
            self.carried[part][name] = value.to(self.device)


def build_state(training: Training, checkpoint: Path | None = None) -> TrainingState:
    """Build the state at step 0, or from a checkpoint."""
    recipe, settings, own = training.recipe, training.settings, training.pretrained
    device = find_device(training.device)
    generator, discriminator = networks.build_networks(recipe, training.options, settings.seed, training.seen)
    if own.start_from is not None and checkpoint is None:
        start_from.transfer_weights(own.start_from, generator, discriminator)
    images = training.originals
    if structures_drawn_into(generator):  # it keeps label maps of training images, evenly spaced
        kept: Any = generator.kept
        chosen = images.pixels[evenly_spaced(len(images), len(kept)), ..., images.image_channels :]
        generator.keep_maps(to_tensor(chosen) >= HALF)  # type: ignore[operator]
    average = copy.deepcopy(generator).eval().requires_grad_(False)
    generator, discriminator, average = (each.to(device) for each in (generator, discriminator, average))

    def optimiser(name: str, published: recipes.OptimiserSettings, network: nn.Module) -> torch.optim.Optimizer:
        parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        lazy = [each.interval for key, each in recipe.regularisers.items() if regularisers.REGULARISERS[key].of == name]
        return build_optimiser(published, parameters, max(lazy, default=1))

    perceptual = None
    if recipe.perceptual_weight and own.features is not None:
        perceptual = functools.partial(losses.perceptual_loss, own.features, image_channels=images.image_channels)
    augmentation = augmentations.AUGMENTATIONS[recipe.augmentation]
    loss = losses.find_loss(recipe.loss)
    carried = {"loss": loss.start}
    carried |= {"augmentation": ADAPTIVE_START} if augmentation.adaptive else {}
    carried |= {name: regularisers.REGULARISERS[name].start for name in recipe.regularisers}
    state = TrainingState(
        device=device,
        recipe=recipe,
        loss=loss,
        augment=augmentation.apply,
        perceptual=perceptual,
        generator=generator,
        discriminator=discriminator,
        average=average,
        generator_optimiser=optimiser("generator", recipe.generator_optimiser, generator),
        discriminator_optimiser=optimiser("discriminator", recipe.discriminator_optimiser, discriminator),
        carried={
            part: {name: torch.tensor(float(value), device=device) for name, value in values.items()}
            for part, values in carried.items()
        },
        image_channels=images.image_channels,
        seed=settings.seed,
        mixed_precision=settings.precision == "bf16",
        early=copy.deepcopy(average) if recipe.guidance else None,
    )
    if checkpoint is not None:
        state.restore(checkpoint)
    return state


def build_optimiser(
    settings: recipes.OptimiserSettings, parameters: Iterable[nn.Parameter], lazy_interval: int
) -> torch.optim.Optimizer:
    """Make one optimiser.

    With lazy regularisation every k = ``lazy_interval`` steps (1: none), k steps become k + 1; the rate is scaled and
    betas are raised by k / (k + 1), so that Adam forgets as fast as before (Karras 2020, "Analyzing and Improving the
    Image Quality of StyleGAN", appendix B).
    """
    share = lazy_interval / (lazy_interval + 1) if lazy_interval > 1 else 1.0
    rate = settings.learning_rate * share
    betas = (settings.betas[0] ** share, settings.betas[1] ** share)
    if settings.name == "adam":
        return torch.optim.Adam(parameters, lr=rate, betas=betas, eps=1e-8, fused=True)
    return torch.optim.RMSprop(parameters, lr=rate, alpha=betas[1], foreach=True)


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Flatten an optimiser's state to named tensors: ``"3.exp_avg"`` belongs to the fourth parameter."""
    state = optimiser.state_dict()["state"]
    return {
        f"{index}.{key}": torch.as_tensor(value) for index, values in state.items() for key, value in values.items()
    }


def restore_optimiser(optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Load tensors from `optimiser_tensors` into a new optimiser over the same parameters."""
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    for name, saved in tensors.items():
        index, key = name.split(".", 1)
        parameter = parameters[int(index)]
        if saved.shape == parameter.shape:
            # In the parameter's own memory layout: another one would be another order of operations.
            optimiser.state[parameter][key] = torch.empty_like(parameter).copy_(saved)
        elif key == "step" and not optimiser.defaults.get("fused"):
            optimiser.state[parameter][key] = saved.cpu()  # RMSprop counts on the CPU
        else:
            optimiser.state[parameter][key] = saved.to(parameter.device)


# The averaged generator, which draws the samples: steadier than the generator of any one step (Yazici 2019, "The
# Unusual Effectiveness of Averaging in GAN Training").  Its half-life is counted in images, with a ramp-up (Karras
# 2020, StyleGAN2-ADA, table 5 and section C): otherwise a short run would mostly average its own beginning.
RAMP_UP = 0.05  # half-life at most this share of the images seen so far (Karras 2020)
# Buffers that are copied: moving averages themselves (the mean style with decay 0.998 a step, StyleGAN3's magnitudes
# with a half-life of 20 000 images), and the unit vectors of spectral normalisation, which averaging would shorten.
MOVING = ("average", "magnitude", "_u", "_v")


def ema_decay(batch: int, images_seen: int, half_life: float) -> float:
    """Return the weight of the old average in one step, in [0, 1); the half-life is in images."""
    current = min(half_life, RAMP_UP * images_seen)
    return 0.5 ** (batch / current) if current > 0 else 0.0


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Move ``average`` towards ``network`` in place, keeping ``decay`` of the old.

    Batch-norm statistics are averaged like weights: the averaged weights run with them, and they remember only ten
    steps. `MOVING` and counters are copied, as in the StyleGAN authors' code: averaged again, they would lag twice as
    far.
    """
    old, new = average.state_dict(), network.state_dict()
    floating = [
        name for name, value in old.items() if value.is_floating_point() and name.rpartition(".")[2] not in MOVING
    ]
    torch._foreach_lerp_([old[name] for name in floating], [new[name] for name in floating], 1.0 - decay)
    for name in old.keys() - set(floating):
        old[name].copy_(new[name])
