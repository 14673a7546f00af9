"""How the options of a GAN training that were left open are filled in from the recipe."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sonoforge.models.activations import ACTIVATIONS
from sonoforge.models.normalisation import NORMS
from sonoforge.runtime.errors import SonoforgeError, did_you_mean
from sonoforge.training.gan.augmentations import AUGMENTATIONS
from sonoforge.training.gan.networks import ARCHITECTURES, discriminator_of
from sonoforge.training.gan.objectives.losses import LOSSES
from sonoforge.training.gan.objectives.regularisers import REGULARISERS
from sonoforge.training.gan.options import PUBLISHED, GanSettings
from sonoforge.training.gan.recipes.row import OPTIMISERS, OptimiserSettings, Recipe, Strength, r1_gamma
from sonoforge.training.gan.recipes.table import find_recipe

# Settings that do not change what is computed; a training may be continued with others.  What is measured and how
# often changes no weight either, but is compared: the figures of one folder are measured in one way.
NOT_COMPARED = frozenset({"keep"})


class Plan(NamedTuple):
    """How long and in which batches to train, with everything that was left open filled in."""

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
    if settings.preset != PUBLISHED:
        _check_known("preset", settings.preset, (PUBLISHED, *recipe.presets))
        recipe = dataclasses.replace(recipe, **recipe.presets[settings.preset].changes)
    if recipe.r1_by_size:
        side = settings.image_size or recipe.image_size
        gamma = r1_gamma(side, settings.batch or recipe.budget_for(settings.class_name).batch)
        strengths = {**recipe.regularisers, "r1": recipe.regularisers["r1"]._replace(weight=gamma)}
        recipe = dataclasses.replace(recipe, regularisers=strengths)
    changes: dict[str, Any] = {
        "loss": settings.loss,
        "augmentation": settings.augmentation,
        "conditioning": _conditioning(recipe, settings),
        "schedule": settings.schedule,
        "mirror": settings.mirror,
        "kept_maps": settings.kept_maps,
        "perceptual_weight": settings.perceptual_weight,
        "n_critic": settings.n_critic,
        "latent_size": settings.latent_size,
        "regularisers": None if settings.regularisers is None else parse_regularisers(settings.regularisers),
    }
    recipe = dataclasses.replace(recipe, **{key: value for key, value in changes.items() if value is not None})
    recipe = dataclasses.replace(
        recipe,
        generator_optimiser=_optimiser(recipe.generator_optimiser, settings, settings.learning_rate),
        discriminator_optimiser=_optimiser(
            recipe.discriminator_optimiser, settings, settings.discriminator_learning_rate or settings.learning_rate
        ),
    )
    if settings.activation is not None:
        _check_known("activation", settings.activation, ACTIVATIONS)
        _check_free("activation", settings.activation, recipe)
        recipe = dataclasses.replace(
            recipe,
            generator={**recipe.generator, "activation": settings.activation},
            discriminator={**recipe.discriminator, "activation": settings.activation},
        )
    if settings.norm is not None:
        _check_known("norm", settings.norm, NORMS)
        _check_free("norm", settings.norm, recipe)
        critic = {} if recipe.discriminator.get("norm") == "none" else {"norm": settings.norm}
        recipe = dataclasses.replace(
            recipe,
            generator={**recipe.generator, "norm": settings.norm},
            discriminator={**recipe.discriminator, **critic},
        )
    if settings.width is not None:
        widths = [
            own.width_options(settings.width) for own in (ARCHITECTURES[recipe.architecture], discriminator_of(recipe))
        ]
        recipe = dataclasses.replace(
            recipe,
            generator={**recipe.generator, **widths[0]},
            discriminator={**recipe.discriminator, **widths[1]},
        )
    if settings.generator_cell is not None:
        _check_cells("generator_cell", settings.generator_cell, recipe)
        recipe = dataclasses.replace(recipe, generator={**recipe.generator, "cell": settings.generator_cell})
    if settings.discriminator_cell is not None:
        _check_cells("discriminator_cell", settings.discriminator_cell, recipe)
        recipe = dataclasses.replace(
            recipe, discriminator={**recipe.discriminator, "cell": settings.discriminator_cell}
        )
    _check_composition(recipe, settings)
    return recipe


def measures_in_features(settings: GanSettings) -> bool:
    """Whether metrics whose space is not named are measured in the network of ``features``.

    Not where the discriminator sees images through it: what it sees is what the generator learns to satisfy.
    """
    return bool(settings.features) and not discriminator_of(compose(settings)).projected


def _check_cells(what: str, code: str, recipe: Recipe) -> None:
    if not ARCHITECTURES[recipe.architecture].cells:
        raise SonoforgeError(
            f"{what}: found {code!r} with the {recipe.architecture} networks, which have no cells; leave it out, or "
            "choose recipe ga-gan"
        )


def _conditioning(recipe: Recipe, settings: GanSettings) -> str:
    """A recipe's own conditioning has nothing to tell apart in a training of one class."""
    if settings.conditioning is not None:
        return settings.conditioning
    return "none" if settings.class_name else recipe.conditioning


def _check_known(what: str, name: str, known: Mapping[str, object] | Sequence[str]) -> None:
    if name not in known:
        hint = did_you_mean(name, list(known))
        raise SonoforgeError(f"GAN training: found {what} {name!r}, expected one of {', '.join(known)}{hint}")


def _optimiser(published: OptimiserSettings, settings: GanSettings, rate: float | None) -> OptimiserSettings:
    """Change a recipe's optimiser: one of another name has the betas of `OPTIMISERS`, and the rate that is there."""
    chosen, name = published, settings.optimiser
    if name is not None and name != published.name:
        _check_known("optimiser", name, OPTIMISERS)
        chosen = chosen._replace(name=name, betas=OPTIMISERS[name])
    if settings.beta1 is not None:
        if chosen.name != "adam":
            raise SonoforgeError(
                f"beta1: found {settings.beta1:g} with the optimiser {chosen.name}, which has none; leave it out, or "
                "choose optimiser adam"
            )
        chosen = chosen._replace(betas=(settings.beta1, chosen.betas[1]))
    return chosen if rate is None else chosen._replace(learning_rate=rate)


def _check_free(what: str, name: str, recipe: Recipe) -> None:
    if not ARCHITECTURES[recipe.architecture].free_hidden:
        free = ", ".join(key for key, architecture in ARCHITECTURES.items() if architecture.free_hidden)
        raise SonoforgeError(
            f"{what}: found {name} with the {recipe.architecture} networks, which fix their own; leave it out, or "
            f"choose a recipe with networks that take any ({free})"
        )


def parse_regularisers(text: str) -> dict[str, Strength]:
    """Read ``none`` or ``name=weight:interval,name,...``; weight and interval may be left out.

    Raises:
        SonoforgeError: Another form, an unknown name, or a number out of range.
    """
    strengths: dict[str, Strength] = {}
    for part in (piece.strip() for piece in text.split(",") if piece.strip() not in ("", "none")):
        name, _, numbers = part.partition("=")
        _check_known("regulariser", name, REGULARISERS)
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
    if LOSSES[recipe.loss].reconstruction != discriminator_of(recipe).reconstruction:
        raise SonoforgeError(
            f"GAN training: found loss {recipe.loss} with the {recipe.architecture} networks; the loss began needs "
            "reconstruction errors, which only the recipe began gives"
        )
    if AUGMENTATIONS[recipe.augmentation].adaptive and not LOSSES[recipe.loss].signed:
        raise SonoforgeError(
            f"GAN training: found {recipe.augmentation} with the loss {recipe.loss}, which has no boundary at 0 "
            "to adapt by; use diffaugment"
        )
    if recipe.draws_into_maps and not settings.masks:
        raise SonoforgeError(f"GAN training: {settings.recipe} draws into label maps, found masks off; add --masks")
    if settings.kept_maps is not None and not recipe.draws_into_maps:
        raise SonoforgeError(
            f"kept_maps: found {settings.kept_maps} with {settings.recipe}, which keeps none; leave it out, or choose "
            "spade, or projected with --preset label-maps"
        )
    if recipe.draws_into_maps and "path-length" in recipe.regularisers:
        raise SonoforgeError(
            f"GAN training: found regulariser path-length with {settings.recipe}, which draws into label maps; leave "
            "it out"
        )
    if "kl-divergence" in recipe.regularisers and not recipe.generator.get("encoder"):
        raise SonoforgeError(
            f"GAN training: found regulariser kl-divergence with {settings.recipe}, which has no encoder; only spade "
            "with --preset encoder has one"
        )
    if discriminator_of(recipe).projected and not settings.features:
        raise SonoforgeError(
            f"GAN training: the discriminator of {settings.recipe} sees images through a feature network, found none; "
            "give features: a .safetensors file, squeezenet1_1 or mobilenet_v2"
        )
    if recipe.perceptual_weight and not settings.features:
        raise SonoforgeError(
            f"GAN training: {settings.recipe} has a perceptual term of weight {recipe.perceptual_weight:g}, found no "
            "feature network; give features: a .safetensors file or vgg16"
        )
    if settings.stop_after is not None and "kid" not in settings.metrics:
        raise SonoforgeError("GAN training: stopping on KID needs it measured; give metrics kid")


DURATIONS = ("epochs", "steps", "kimg")  # settings, one of which gives the length of a training


def given_lengths(settings: GanSettings) -> list[str]:
    """Return which of epochs, steps and kimg the settings give."""
    return [name for name in DURATIONS if getattr(settings, name) is not None]


def fill_budget(settings: GanSettings, budget: Mapping[str, Any]) -> GanSettings:
    """Fill in the settings that are None from a budget, by their names; a length that was given replaces its length."""
    left_out = DURATIONS if given_lengths(settings) else ()
    missing = {
        name: value for name, value in budget.items() if name not in left_out and getattr(settings, name) is None
    }
    return dataclasses.replace(settings, **missing)


def make_plan(settings: GanSettings, images: int) -> Plan:
    """Fill in what the settings leave to the recipe.

    Raises:
        SonoforgeError: An unknown recipe, or a number out of range.
    """
    recipe = compose(settings)
    budget = recipe.budget_for(settings.class_name)
    # A published batch larger than a small set is lowered; one that was asked for is a mistake.
    batch = min(budget.batch, images) if settings.batch is None else settings.batch
    given = given_lengths(settings)
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
    elif settings.epochs is None and budget.unit == "iterations":
        steps = math.ceil(budget.length)
    else:
        epochs = budget.length if settings.epochs is None else settings.epochs
        steps = math.ceil(epochs * images / shown)
    tick_steps = settings.tick_steps or max(50, math.ceil(steps / 50))
    return Plan(steps, batch, settings.image_size or recipe.image_size, min(tick_steps, steps))
