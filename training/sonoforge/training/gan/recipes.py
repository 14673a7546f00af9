"""Read the table of GAN recipes: each row is data, and a new recipe is a new row of ``recipes.json``.

A recipe has one part of each kind: architecture x loss x regularisers x perceptual term x augmentation x EMA x
conditioning x optimisers x schedule. The training loop knows none of them by name.

A row in the file has the fields of `Recipe`; missing ones come from the row that it is ``like``, or are the defaults. A
regulariser is its weight and, if lazy, the steps between uses; a preset may also be ``like`` another one in its row.
Prose is a list of lines, with ``$NAME`` for a text shared by several rows.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from string import Template
from typing import Any, Literal, NamedTuple

from sonoforge.runtime.errors import SonoforgeError, did_you_mean

# Optimisers with the betas that they bring to a recipe of another optimiser: Adam's of Radford et al. 2016, RMSprop's
# smoothing of WGAN's authors' code.
OPTIMISERS: dict[str, tuple[float, float]] = {"adam": (0.5, 0.999), "rmsprop": (0.0, 0.99)}


class OptimiserSettings(NamedTuple):
    """A recipe's optimiser for one network."""

    name: str  # of `OPTIMISERS`
    learning_rate: float  # before any schedule
    # Of Adam; the first is unused by RMSprop, whose smoothing constant is the second.
    betas: tuple[float, float] = (0.5, 0.999)


class Budget(NamedTuple):
    """Length of a training run, and images per step."""

    length: float
    batch: int
    # Of the length: passes over the images of the class (epochs), or generator updates (iterations).
    unit: Literal["epochs", "iterations"] = "epochs"

    def __str__(self) -> str:
        """Return the length in words, such as ``200 epochs`` or ``100 000 iterations``."""
        return f"{self.length:,g} {self.unit}".replace(",", " " if self.length >= 10_000 else "")


class Strength(NamedTuple):
    """A regulariser's weight, and the steps between uses (more than 1: lazily, Karras 2020)."""

    weight: float
    interval: int = 1


class Preset(NamedTuple):
    """A row's numbers for a purpose other than the published one."""

    changes: Mapping[str, Any]  # of the row, by field
    why: str  # the reason for each


@dataclass(frozen=True)
class Recipe:
    """One GAN as published: names of parts and their numbers, some of which its presets change."""

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
    r1_by_size: bool = False  # whether R1's gamma follows the size and the batch that are asked for

    def budget_for(self, class_name: str) -> Budget:
        """Return the published length of training for this class."""
        return self.class_budgets.get(class_name.lower(), self.budget)


def _read_recipes(path: Path) -> dict[str, Recipe]:
    content = json.loads(path.read_text(encoding="utf-8"))
    texts: dict[str, str] = {}

    def prose(lines: list[str]) -> str:
        return Template(" ".join(lines)).substitute(texts)

    def presets(rows: dict[str, Any]) -> dict[str, Preset]:
        found: dict[str, Preset] = {}
        for name, row in rows.items():
            shared = found[row["like"]].changes if "like" in row else {}
            found[name] = Preset({**shared, **fields(row["changes"])}, prose(row["why"]))
        return found

    def optimiser(row: dict[str, Any]) -> OptimiserSettings:
        return OptimiserSettings(row["name"], row["learning_rate"], tuple(row["betas"]))

    readers: dict[str, Callable[[Any], Any]] = {
        "source": prose,
        "presets": presets,
        "generator_optimiser": optimiser,
        "discriminator_optimiser": optimiser,
        "budget": lambda row: Budget(**row),
        "class_budgets": lambda rows: {name: Budget(**row) for name, row in rows.items()},
        "regularisers": lambda rows: {name: Strength(*numbers) for name, numbers in rows.items()},
    }

    def fields(row: dict[str, Any]) -> dict[str, Any]:
        return {name: readers[name](value) if name in readers else value for name, value in row.items()}

    for name, lines in content["texts"].items():
        texts[name] = prose(lines)
    found: dict[str, Recipe] = {}
    for name, row in content["recipes"].items():
        like = row.pop("like", None)
        found[name] = replace(found[like], **fields(row)) if like else Recipe(**fields(row))
    return found


RECIPES = _read_recipes(Path(__file__).with_suffix(".json"))


def find_recipe(name: str) -> Recipe:
    """Return the row of this name.

    Raises:
        SonoforgeError: There is none; the message gives the closest.
    """
    if name not in RECIPES:
        hint = did_you_mean(name, list(RECIPES))
        raise SonoforgeError(f"recipe: {name!r} is not one of {', '.join(RECIPES)}{hint}")
    return RECIPES[name]


# From the finished share of the training, in [0, 1), to a factor of the learning rates.  Linear decay: the full rate in
# the first half, then down to 0 in a line (Zhu et al., CycleGAN, ICCV 2017, section 4).
SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda progress: 1.0,
    "linear-decay": lambda progress: min(1.0, 2.0 * (1.0 - progress)),
}


class Stage(NamedTuple):
    """The stage of a growing training."""

    resolution: int  # side in pixels that the newest layers work at
    alpha: float  # weight of the newest layers, 0 to 1


FADES = 64  # steps in which the weight of new layers rises from 0 to 1


def growing_stage(progress: float, image_size: int, start: int) -> Stage:
    """Return the stage of progressive growing (Karras et al., ICLR 2018, section 2 and appendix A).

    There each resolution is trained with 800 000 images, then the next fades in over as many.  Here the phases are
    equal shares of the training, so that short ones reach full resolution: start, fade, steady, fade, steady ...

    ``progress`` is the finished share of the training, in [0, 1); ``start`` is doubled until ``image_size``.
    """
    doublings = round(math.log2(image_size / start))
    position = progress * (2 * doublings + 1)
    phase = min(int(position), 2 * doublings)
    fading = phase % 2 == 1
    # In few steps: the stage is a constant of a compiled network.
    alpha = math.floor((position - phase) * FADES) / FADES if fading else 1.0
    return Stage(start * 2 ** ((phase + 1) // 2), alpha)
