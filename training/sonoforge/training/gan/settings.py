"""What determines a GAN training, and how what is left open is filled in from the recipe."""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

from sonoforge.models.dcgan import DOWNSCALE
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.gan.recipes import find_recipe


@dataclasses.dataclass(frozen=True)
class GanSettings:
    """What determines a training, together with its images.

    Attributes:
        recipe: Row of `recipes.RECIPES`.
        class_name: Class of the images; picks the recipe's published epochs and batch.
        epochs: Passes over the images; None: as published.  Not together with ``steps``.
        steps: Optimiser steps; None: from ``epochs``.
        batch: Images a step; None: as published.
        image_size: Side in pixels to train at; a multiple of 8.
        channels: ``"1"``, ``"3"``, or ``"auto"``: 1 when at least 90 % of the images are grey.
        learning_rate: Of both networks; None: as published.
        seed: Of weights, order, latents, augmentation and samples.
        tick_steps: Steps between two ticks (statistics, sample grid, checkpoint); None: a fiftieth of
            the training, at least 50.
        keep: Newest checkpoints kept, beside the best.
    """

    recipe: str = "dcgan-thesis"
    class_name: str = ""
    epochs: float | None = None
    steps: int | None = None
    batch: int | None = None
    image_size: int = 224
    channels: str = "auto"
    learning_rate: float | None = None
    seed: int = 0
    tick_steps: int | None = None
    keep: int = 2


class Plan(NamedTuple):
    """The settings with everything that was left open filled in."""

    steps: int
    batch: int
    learning_rate: float
    tick_steps: int


def make_plan(settings: GanSettings, images: int) -> Plan:
    """Fill in what the settings leave to the recipe.

    Args:
        settings: As given.
        images: How many images there are to train on.

    Raises:
        SonoforgeError: An unknown recipe, or a number out of range.
    """
    recipe = find_recipe(settings.recipe)
    budget = recipe.budget_for(settings.class_name)
    batch = budget.batch if settings.batch is None else settings.batch
    epochs = budget.epochs if settings.epochs is None else settings.epochs
    steps = math.ceil(epochs * images / max(batch, 1)) if settings.steps is None else settings.steps
    rate = recipe.learning_rate if settings.learning_rate is None else settings.learning_rate
    if settings.steps is not None and settings.epochs is not None:
        raise SonoforgeError("GAN training: found both steps and epochs, expected one of them")
    if batch < 2:
        raise SonoforgeError(f"GAN training: found batch {batch}, expected at least 2 (batch normalisation)")
    if steps < 1 or rate <= 0:
        raise SonoforgeError(f"GAN training: found {steps} steps at rate {rate}, expected both above 0")
    if settings.image_size < 16 or settings.image_size % DOWNSCALE:
        raise SonoforgeError(
            f"GAN training: found image size {settings.image_size}, expected a multiple of {DOWNSCALE} from 16 on"
        )
    tick_steps = settings.tick_steps or max(50, math.ceil(steps / 50))
    return Plan(steps, batch, rate, min(tick_steps, steps))
