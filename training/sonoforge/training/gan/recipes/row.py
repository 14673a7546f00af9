"""What a recipe says: the names of its parts and their numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

# The optimisers, each with the betas that it has where a recipe names another one: Adam's of Radford et al. 2016, and
# RMSprop's smoothing of the authors' code of WGAN.
OPTIMISERS: dict[str, tuple[float, float]] = {"adam": (0.5, 0.999), "rmsprop": (0.0, 0.99)}

# Label maps that a generator which draws into them keeps: of its training images, or of a shape model of these.
KEPT_MAPS = ("training", "shapes")


class OptimiserSettings(NamedTuple):
    """What a recipe says of one network's optimiser."""

    name: str  # of `OPTIMISERS`
    learning_rate: float  # before any schedule
    # Of Adam; the first is unused by RMSprop, whose smoothing constant is the second.
    betas: tuple[float, float] = (0.5, 0.999)


class Budget(NamedTuple):
    """How long to train, and images per step."""

    length: float
    batch: int
    # Of the length: passes over the images of the class (epochs), or generator updates (iterations).
    unit: Literal["epochs", "iterations"] = "epochs"

    def __str__(self) -> str:
        """Return the length in words, such as ``200 epochs`` or ``100 000 iterations``."""
        return f"{self.length:,g} {self.unit}".replace(",", " " if self.length >= 10_000 else "")


def adam(rate: float, discriminator_rate: float, betas: tuple[float, float]) -> dict[str, Any]:
    """Return the fields of a row whose two networks have Adam with the same betas."""
    return {
        "generator_optimiser": OptimiserSettings("adam", rate, betas),
        "discriminator_optimiser": OptimiserSettings("adam", discriminator_rate, betas),
    }


def both(**options: Any) -> dict[str, Any]:
    """Return the fields of a row whose two networks have the same options."""
    return {"generator": options, "discriminator": options}


class Strength(NamedTuple):
    """How a regulariser is applied: its weight, and every how many steps (more than 1: lazily, Karras 2020)."""

    weight: float
    interval: int = 1


def r1_gamma(side: int, batch: int) -> float:
    """Return R1's gamma for images of this side: the rule of the authors' code of StyleGAN2-ADA and StyleGAN3."""
    return 0.0002 * side**2 / batch


class Preset(NamedTuple):
    """A row's numbers for another purpose than the published one."""

    changes: Mapping[str, Any]  # of the row, by field
    why: str  # the reason for each


@dataclass(frozen=True)
class Recipe:
    """One GAN: names of parts and their numbers, as published; its presets change some of them."""

    title: str  # one line for the table
    source: str  # paper, section; and where each number that it leaves open is from
    architecture: str  # name in `networks.ARCHITECTURES`, of both networks
    image_size: int  # side in pixels that it is published at, or the usual one
    latent_size: int  # length of the latent vector
    loss: str  # name in `losses.LOSSES`
    generator_optimiser: OptimiserSettings  # of the generator
    discriminator_optimiser: OptimiserSettings  # of the discriminator; other rates make it a two time-scale update rule
    budget: Budget  # length of training for a class without its own
    class_budgets: Mapping[str, Budget] = field(default_factory=dict)  # length of training by class, in lower case
    discriminator_architecture: str = ""  # of the discriminator, where it is another's
    n_critic: int = 1  # discriminator updates for each generator update
    # Strengths by name in `regularisers.REGULARISERS`.
    regularisers: Mapping[str, Strength] = field(default_factory=dict)
    perceptual_weight: float = 0.0  # of the perceptual term (`perceptual`); 0 for none
    feature_matching: float = 0.0  # weight of `feature_matching`; 0 for none
    mirror: bool = False  # whether the images are doubled by left-right flips
    augmentation: str = "none"  # name in `augmentations.AUGMENTATIONS`; seen by the discriminator only
    conditioning: str = "none"  # name in `losses.CONDITIONINGS`
    schedule: str = "constant"  # name in `schedules.SCHEDULES`, of both learning rates
    draws_into_maps: bool = False  # whether the generator draws images into label maps, so that it needs masks
    kept_maps: str = "training"  # of `KEPT_MAPS`: what such a generator keeps, to draw into where it is given none
    growing: bool = False  # whether the networks grow while they train (`schedules.growing_stage`)
    ema_half_life: float = 10_000  # images after which a weight's share in the averaged generator has halved
    # Options of the generator beyond the defaults of its class.
    generator: Mapping[str, Any] = field(default_factory=dict)
    # Options of the discriminator beyond the defaults of its class.
    discriminator: Mapping[str, Any] = field(default_factory=dict)
    # Other numbers by name; without one the row is as published.
    presets: Mapping[str, Preset] = field(default_factory=dict)
    # Images over which a blur of all that the discriminator sees fades, from `blurring.START` pixels; 0: none.
    blur: int = 0
    r1_by_size: bool = False  # whether R1's gamma follows the size and the batch that are asked for, see `r1_gamma`

    def budget_for(self, class_name: str) -> Budget:
        """Return the published length of training for this class."""
        return self.class_budgets.get(class_name.lower(), self.budget)


# Numbers and reasons that recipes of several families share.

# None of the classic papers says how long to train on a few hundred medical images.  Thakur and Thakur train DCGAN,
# LSGAN, WGAN, StyleGAN and two more for 200 epochs each; the other rows take the same number for want of one.
EPOCHS = 200
AS_LONG = "200 epochs: as Thakur and Thakur give the six that they compare; none of its own is known for small sets."
AVERAGED = "The averaged generator (EMA) is an addition, half-life 10 000 images as in Karras 2020 (StyleGAN2)."

# As published, but narrow, so that a few hundred images are seen often enough in the minutes of a few cores.
FEW_CORES = (
    "A narrow network and small batches, for minutes of a few cores at 64 pixels; nothing else differs. At the "
    "published width a step takes a core 10 seconds and more."
)
