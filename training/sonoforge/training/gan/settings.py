"""What determines a GAN training, and how what is left open is filled in from the recipe."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sonoforge.runtime.errors import SonoforgeError, did_you_mean
from sonoforge.training.gan.augmentations import AUGMENTATIONS
from sonoforge.training.gan.networks import ARCHITECTURES
from sonoforge.training.gan.objectives.conditioning import CONDITIONINGS
from sonoforge.training.gan.objectives.losses import LOSSES
from sonoforge.training.gan.objectives.regularisers import REGULARISERS
from sonoforge.training.gan.progress.tick_metrics import METRICS
from sonoforge.training.gan.recipes import Recipe, Strength, find_recipe, r1_gamma
from sonoforge.training.gan.schedules import SCHEDULES

PRECISIONS = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}  # to Fabric's names


@dataclasses.dataclass(frozen=True)
class GanSettings:
    """What determines a training, together with its images.

    Attributes:
        recipe: Row of `recipes.RECIPES`.
        preset: ``paper``, or one of the row's own presets.
        class_name: Class of the images; picks the recipe's published epochs and batch.
        epochs: Passes over the images; None: as published.  At most one of epochs, steps and kimg is given.
        steps: Generator updates.
        kimg: Thousands of real images shown to the discriminator.
        batch: Images a step; None: as published, or all images where there are fewer.
        image_size: Side in pixels to train at; None: the recipe's.
        channels: ``"1"``, ``"3"``, or ``"auto"``: 1 when at least 90 % of the images are grey.
        learning_rate: Of both networks; None: as published.
        discriminator_learning_rate: Of the discriminator alone.
        n_critic: Discriminator updates for each generator update; None: as published.
        loss: Instead of the recipe's.
        regularisers: Instead of the recipe's: ``none`` or ``name=weight:interval,...``.
        perceptual_weight: Instead of the recipe's.
        features: Name and hash of the network of the perceptual term; empty without one.
        augmentation: Instead of the recipe's.
        conditioning: Instead of the recipe's.
        schedule: Instead of the recipe's.
        masks: Train the images' masks jointly, as a last channel.
        mirror: Double the images by left-right flips.
        affine: Distort every real image shown at random.
        expand: Images for each image, itself included, made by affine distortion before the training.
        balanced: Show every class equally often.
        width: Maps of the widest or the base layer, as the architecture says; None: as published.
        start_from: Name and hash of the weights that the training starts from; empty: it starts anew.
        freeze_discriminator: Blocks of the discriminator, those nearest the image, that stay as they are.
        precision: ``fp32``, ``bf16`` or ``fp16``.
        accumulate: Parts that a batch is computed in, one after the other, to save memory.
        compile: Compile the networks.
        metrics: Some of `tick_metrics.METRICS`, measured on the averaged generator; with ``kid`` the best checkpoint
            is chosen by it.
        every: Ticks from one measuring to the next; the last tick is always measured.
        metric_features: Name of the feature space that the metrics are measured in; empty without metrics.
        held_out: Share of the images, by whole scans, that is never trained on and that the metrics are measured
            against, see `training_set.hold_out`; 0: none, they are measured against the training images.
        stop_after: Stop when KID has not fallen for so many measurings; None: never.
        seed: Of weights, order, latents, augmentation and samples.
        tick_steps: Steps between two ticks (statistics, sample grid, checkpoint); None: a fiftieth of
            the training, at least 50.
        keep: Newest checkpoints kept, beside the best.
    """

    recipe: str = "dcgan-thesis"
    preset: str = "paper"
    class_name: str = ""
    epochs: float | None = None
    steps: int | None = None
    kimg: float | None = None
    batch: int | None = None
    image_size: int | None = None
    channels: str = "auto"
    learning_rate: float | None = None
    discriminator_learning_rate: float | None = None
    n_critic: int | None = None
    loss: str | None = None
    regularisers: str | None = None
    perceptual_weight: float | None = None
    features: str = ""
    augmentation: str | None = None
    conditioning: str | None = None
    schedule: str | None = None
    masks: bool = False
    mirror: bool = False
    affine: bool = False
    expand: int = 1
    balanced: bool = False
    width: int | None = None
    start_from: str = ""
    freeze_discriminator: int = 0
    precision: str = "fp32"
    accumulate: int = 1
    compile: bool = False
    metrics: tuple[str, ...] = ()
    every: int = 1
    metric_features: str = ""
    held_out: float = 0.0
    stop_after: int | None = None
    seed: int = 0
    tick_steps: int | None = None
    keep: int = 2


# Settings that do not change what is computed; a training may be continued with others.  What is measured and how
# often changes no weight either, but is compared: the figures of one folder are measured alike.
NOT_COMPARED = frozenset({"keep"})


class Plan(NamedTuple):
    """How long and in which portions to train, with everything that was left open filled in."""

    steps: int
    batch: int
    image_size: int
    tick_steps: int


def compose(settings: GanSettings) -> Recipe:
    """Return the recipe with what the settings change of it.

    Raises:
        SonoforgeError: An unknown name, or parts that do not go together.
    """
    recipe = find_recipe(settings.recipe)
    if settings.preset != "paper":
        _known("preset", settings.preset, ("paper", *recipe.presets))
        recipe = dataclasses.replace(recipe, **recipe.presets[settings.preset].changes)
    if recipe.r1_by_size:
        side = settings.image_size or recipe.image_size
        gamma = r1_gamma(side, settings.batch or recipe.budget_for(settings.class_name).batch)
        strengths = {**recipe.regularisers, "r1": recipe.regularisers["r1"]._replace(weight=gamma)}
        recipe = dataclasses.replace(recipe, regularisers=strengths)
    changes: dict[str, Any] = {
        "loss": _known("loss", settings.loss, LOSSES),
        "augmentation": _known("augmentation", settings.augmentation, AUGMENTATIONS),
        "conditioning": _known("conditioning", settings.conditioning, CONDITIONINGS),
        "schedule": _known("schedule", settings.schedule, SCHEDULES),
        "perceptual_weight": settings.perceptual_weight,
        "n_critic": settings.n_critic,
        "regularisers": None if settings.regularisers is None else parse_regularisers(settings.regularisers),
    }
    recipe = dataclasses.replace(recipe, **{key: value for key, value in changes.items() if value is not None})
    rates = (settings.learning_rate, settings.discriminator_learning_rate or settings.learning_rate)
    optimisers = [
        optimiser if rate is None else optimiser._replace(learning_rate=rate)
        for optimiser, rate in zip((recipe.generator_optimiser, recipe.discriminator_optimiser), rates, strict=True)
    ]
    recipe = dataclasses.replace(recipe, generator_optimiser=optimisers[0], discriminator_optimiser=optimisers[1])
    if settings.width is not None:
        widths = ARCHITECTURES[recipe.architecture].width_options
        recipe = dataclasses.replace(
            recipe,
            generator={**recipe.generator, **widths(settings.width)},
            discriminator={**recipe.discriminator, **widths(settings.width)},
        )
    _check_composition(recipe, settings)
    return recipe


def _known(what: str, name: str | None, known: Mapping[str, object] | Sequence[str]) -> str | None:
    if name is not None and name not in known:
        hint = did_you_mean(name, list(known))
        raise SonoforgeError(f"GAN training: found {what} {name!r}, expected one of {', '.join(known)}{hint}")
    return name


def parse_regularisers(text: str) -> dict[str, Strength]:
    """Read ``none`` or ``name=weight:interval,name,...``; weight and interval may be left out.

    Raises:
        SonoforgeError: Another form, an unknown name, or a number out of range.
    """
    strengths: dict[str, Strength] = {}
    for part in (piece.strip() for piece in text.split(",") if piece.strip() not in ("", "none")):
        name, _, numbers = part.partition("=")
        _known("regulariser", name, REGULARISERS)
        weight, _, interval = numbers.partition(":")
        try:
            strength = Strength(float(weight or REGULARISERS[name].weight), int(interval or 1))
        except ValueError:
            strength = Strength(-1.0)
        if strength.weight <= 0 or strength.interval < 1 or not math.isfinite(strength.weight):
            raise SonoforgeError(f"GAN training: found regulariser {part!r}, expected NAME=WEIGHT or NAME=WEIGHT:STEPS")
        strengths[name] = strength
    return strengths


def _check_composition(recipe: Recipe, settings: GanSettings) -> None:
    rates = (recipe.generator_optimiser.learning_rate, recipe.discriminator_optimiser.learning_rate)
    if min(rates) <= 0 or recipe.n_critic < 1 or recipe.perceptual_weight < 0:
        raise SonoforgeError(
            f"GAN training: found learning rates {rates}, n_critic {recipe.n_critic}, perceptual weight "
            f"{recipe.perceptual_weight}, expected rates above 0, n_critic from 1, a weight from 0"
        )
    if (recipe.loss == "began") != (recipe.architecture == "began"):
        raise SonoforgeError(
            f"GAN training: found loss {recipe.loss} with the {recipe.architecture} networks; the loss began needs "
            "reconstruction errors, which the recipe began alone gives"
        )
    if AUGMENTATIONS[recipe.augmentation].adaptive and not LOSSES[recipe.loss].signed:
        raise SonoforgeError(
            f"GAN training: found {recipe.augmentation} with the loss {recipe.loss}, which has no boundary at 0 "
            "to adapt by; use diffaugment"
        )
    if recipe.perceptual_weight and not settings.features:
        raise SonoforgeError(
            f"GAN training: {settings.recipe} has a perceptual term of weight {recipe.perceptual_weight:g}, found no "
            "feature network; give --features FILE.safetensors or --features vgg16"
        )
    for metric in settings.metrics:
        _known("metric", metric, METRICS)
    if settings.metrics and not settings.metric_features:
        raise SonoforgeError(
            f"GAN training: measuring {', '.join(settings.metrics)} needs a feature space; give --metric-features"
        )
    if settings.stop_after is not None and "kid" not in settings.metrics:
        raise SonoforgeError("GAN training: stopping on KID needs it measured; give --metrics kid")
    if settings.every < 1:
        raise SonoforgeError(f"GAN training: found {settings.every} ticks between measurings, expected at least 1")
    if settings.accumulate < 1:
        raise SonoforgeError(f"GAN training: found {settings.accumulate} parts a batch, expected at least 1")


def make_plan(settings: GanSettings, images: int) -> Plan:
    """Fill in what the settings leave to the recipe.

    Args:
        settings: As given.
        images: How many images there are to train on.

    Raises:
        SonoforgeError: An unknown recipe, or a number out of range.
    """
    recipe = compose(settings)
    budget = recipe.budget_for(settings.class_name)
    # A published batch larger than a small set is lowered; one that was asked for is a mistake.
    batch = min(budget.batch, images) if settings.batch is None else settings.batch
    given = [name for name in ("epochs", "steps", "kimg") if getattr(settings, name) is not None]
    if len(given) > 1:
        raise SonoforgeError(f"GAN training: found {' and '.join(given)}, expected one of them")
    if batch < 2:
        raise SonoforgeError(f"GAN training: found batch {batch}, expected at least 2 (batch normalisation)")
    if batch % settings.accumulate or batch // settings.accumulate < 2:
        raise SonoforgeError(
            f"GAN training: found a batch of {batch} in {settings.accumulate} parts, expected equal parts of at least 2"
        )
    shown = batch * recipe.n_critic
    if settings.steps is not None:
        steps = settings.steps
    elif settings.kimg is not None:
        steps = math.ceil(settings.kimg * 1000 / shown)
    else:
        epochs = budget.epochs if settings.epochs is None else settings.epochs
        steps = math.ceil(epochs * images / shown)
    if steps < 1:
        raise SonoforgeError(f"GAN training: found {steps} steps, expected at least 1")
    tick_steps = settings.tick_steps or max(50, math.ceil(steps / 50))
    return Plan(steps, batch, settings.image_size or recipe.image_size, min(tick_steps, steps))
