"""Turn options into recipe and plan: fill in what was left open, and refuse parts that do not fit together."""

import dataclasses
import inspect
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sonoforge.models.layers import ACTIVATIONS, NORMS
from sonoforge.runtime.errors import SonoforgeError, check_known
from sonoforge.training.gan.augmentations import AUGMENTATIONS
from sonoforge.training.gan.losses import CONDITIONINGS, find_loss
from sonoforge.training.gan.networks import ARCHITECTURES, discriminator_of, find_architecture
from sonoforge.training.gan.options import PUBLISHED, GanSettings
from sonoforge.training.gan.recipes import OPTIMISERS, SCHEDULES, OptimiserSettings, Recipe, Strength, find_recipe
from sonoforge.training.gan.regularisers import REGULARISERS

DURATIONS = ("epochs", "steps", "kimg")  # options, at most one of which gives the length of a training
# Options that replace the recipe's field of the same name.
_REPLACING = (
    "loss", "augmentation", "schedule", "mirror", "perceptual_weight", "n_critic", "latent_size",
    "simultaneous", "ema_half_life", "guidance",
)  # fmt: skip


class Plan(NamedTuple):
    """The length and the batches of a training run."""

    steps: int
    batch: int
    image_size: int
    tick_steps: int


def compose(settings: GanSettings) -> Recipe:
    """Return the recipe with the changes that the settings ask for.

    Raises:
        SonoforgeError: A name is unknown, or parts do not fit together.
    """
    recipe = find_recipe(settings.recipe)
    if settings.preset != PUBLISHED:
        check_known("preset", settings.preset, (PUBLISHED, *recipe.presets))
        recipe = dataclasses.replace(recipe, **recipe.presets[settings.preset].changes)
    if recipe.r1_by_size:
        side = settings.image_size or recipe.image_size
        batch = settings.batch or recipe.budget_for(settings.class_name).batch
        gamma = 0.0002 * side**2 / batch  # the rule of the authors' code of StyleGAN2-ADA and StyleGAN3
        strengths = {**recipe.regularisers, "r1": recipe.regularisers["r1"]._replace(weight=gamma)}
        recipe = dataclasses.replace(recipe, regularisers=strengths)
    changes: dict[str, Any] = {
        name: getattr(settings, name) for name in _REPLACING if getattr(settings, name) is not None
    }
    # In a training run of one class, a recipe's own conditioning has no classes to tell apart.
    changes["conditioning"] = settings.conditioning or ("none" if settings.class_name else recipe.conditioning)
    if settings.regularisers is not None:
        changes["regularisers"] = parse_regularisers(settings.regularisers)
    changes["generator"], changes["discriminator"] = _network_options(recipe, settings)
    rates = (settings.learning_rate, settings.discriminator_learning_rate or settings.learning_rate)
    for name, rate in zip(("generator_optimiser", "discriminator_optimiser"), rates, strict=True):
        changes[name] = _optimiser(getattr(recipe, name), settings, rate)
    recipe = dataclasses.replace(recipe, **changes)
    _check_needs(recipe, settings)
    return recipe


def _network_options(recipe: Recipe, settings: GanSettings) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    generator, discriminator = dict(recipe.generator), dict(recipe.discriminator)
    for name, known in (("activation", ACTIVATIONS), ("norm", NORMS)):
        value = getattr(settings, name)
        if value is not None:
            check_known(name, value, known)
            generator[name] = value
            if discriminator.get(name) != "none":  # a critic without normalisation keeps none
                discriminator[name] = value
    if settings.width is not None:
        taken = inspect.signature(find_architecture(recipe.architecture).generator).parameters
        if not {"width", "options"} & set(taken):
            raise SonoforgeError(
                f"width: the {recipe.architecture} networks have one size; leave it out, or choose another recipe"
            )
        generator |= find_architecture(recipe.architecture).width_options(settings.width)
        if not recipe.polished:  # its discriminator goes on from one of another width
            discriminator |= discriminator_of(recipe).width_options(settings.width)
    if settings.generator_cell is not None:
        generator["cell"] = settings.generator_cell
    if settings.discriminator_cell is not None:
        discriminator["cell"] = settings.discriminator_cell
    return generator, discriminator


def _optimiser(published: OptimiserSettings, settings: GanSettings, rate: float | None) -> OptimiserSettings:
    """Change a recipe's optimiser; a different one brings its own betas but keeps the recipe's rate."""
    chosen, name = published, settings.optimiser
    if name is not None and name != published.name:
        check_known("optimiser", name, OPTIMISERS)
        chosen = chosen._replace(name=name, betas=OPTIMISERS[name])
    if settings.beta1 is not None:
        chosen = chosen._replace(betas=(settings.beta1, chosen.betas[1]))
    return chosen if rate is None else chosen._replace(learning_rate=rate)


def measures_in_features(settings: GanSettings) -> bool:
    """Whether metrics without a given feature space use the network of ``features``.

    They do not if the discriminator sees images through it, because the generator learns to satisfy that network.
    """
    return bool(settings.features) and not discriminator_of(compose(settings)).projected


def parse_regularisers(text: str) -> dict[str, Strength]:
    """Read ``none`` or ``name=weight:interval,name,...``; weight and interval are optional.

    Raises:
        SonoforgeError: The form is wrong, a name is unknown, or a number is out of range.
    """
    strengths: dict[str, Strength] = {}
    for part in (piece.strip() for piece in text.split(",") if piece.strip() not in ("", "none")):
        name, _, numbers = part.partition("=")
        check_known("regulariser", name, REGULARISERS)
        weight, _, interval = numbers.partition(":")
        try:
            strength = Strength(float(weight or REGULARISERS[name].weight), int(interval or 1))
        except ValueError:
            strength = Strength(-1.0)
        if strength.weight <= 0 or strength.interval < 1 or not math.isfinite(strength.weight):
            raise SonoforgeError(f"regularisers: {part!r} is neither NAME=WEIGHT nor NAME=WEIGHT:STEPS")
        strengths[name] = strength
    return strengths


def given_lengths(settings: GanSettings) -> list[str]:
    """Return which of epochs, steps and kimg the settings give."""
    return [name for name in DURATIONS if getattr(settings, name) is not None]


def fill_budget(settings: GanSettings, budget: Mapping[str, Any]) -> GanSettings:
    """Fill in the settings that are None from a budget; a given length replaces the budget's."""
    left_out = DURATIONS if given_lengths(settings) else ()
    missing = {
        name: value for name, value in budget.items() if name not in left_out and getattr(settings, name) is None
    }
    return dataclasses.replace(settings, **missing)


def make_plan(settings: GanSettings, images: int) -> Plan:
    """Fill in length and batches from the recipe."""
    recipe = compose(settings)
    budget = recipe.budget_for(settings.class_name)
    # A published batch is lowered to the size of a small set; an explicit one is refused instead.
    batch = min(budget.batch, images) if settings.batch is None else settings.batch
    given = given_lengths(settings)
    if len(given) > 1:
        raise SonoforgeError(f"{given[0]} cannot be combined with {given[1]}")
    if batch < 2:
        raise SonoforgeError(f"batch must be at least 2, for batch normalisation, not {batch}")
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


NEEDS: Mapping[str, Mapping[str, str]] = json.loads(Path(__file__).with_name("needs.json").read_text("utf-8"))
"""What a part can require of the rest of its recipe: templates of what that has instead, and of the remedy."""
_MET: dict[str, Callable[[Recipe, GanSettings], bool]] = {
    "reconstruction errors": lambda recipe, _: discriminator_of(recipe).reconstruction,
    "reconstruction loss": lambda recipe, _: find_loss(recipe.loss).reconstruction,
    "signed scores": lambda recipe, _: find_loss(recipe.loss).signed,
    "masks": lambda _, settings: settings.masks,
    "latents alone": lambda recipe, _: not (recipe.draws_into_maps or recipe.polished),
    "feature network": lambda _, settings: bool(settings.features),
    "free activation": lambda recipe, _: "activation" in find_architecture(recipe.architecture).free_hidden,
    "free norm": lambda recipe, _: "norm" in find_architecture(recipe.architecture).free_hidden,
    "velocity": lambda recipe, _: discriminator_of(recipe).velocity,
    "flow matching": lambda recipe, _: find_loss(recipe.loss).velocity,
    "discriminator": lambda recipe, _: not discriminator_of(recipe).velocity,
    "polish": lambda recipe, _: recipe.polished,
    "autoencoder": lambda _, settings: bool(settings.start_from),
    "cells": lambda recipe, _: find_architecture(recipe.architecture).cells,
    "one step": lambda recipe, _: all(
        own.interval == 1 and REGULARISERS[name].after_step is None for name, own in recipe.regularisers.items()
    ),
    "adam": lambda recipe, _: {recipe.generator_optimiser.name, recipe.discriminator_optimiser.name} == {"adam"},
}
# What an option needs where it is given.
_OPTION_NEEDS = {
    "activation": "free activation", "norm": "free norm", "generator_cell": "cells", "discriminator_cell": "cells",
    "beta1": "adam", "latent_size": "discriminator", "n_critic": "discriminator",
    "discriminator_learning_rate": "discriminator",
}  # fmt: skip


def _check_needs(recipe: Recipe, settings: GanSettings) -> None:
    check_known("augmentation", recipe.augmentation, AUGMENTATIONS)
    check_known("conditioning", recipe.conditioning, CONDITIONINGS)
    check_known("schedule", recipe.schedule, SCHEDULES)
    for name in recipe.regularisers:
        check_known("regulariser", name, REGULARISERS)
    own_augmentation = {recipe.augmentation} - {"none"}
    parts: list[tuple[str, object, tuple[str, ...]]] = [
        *((name, getattr(settings, name), (need,)) for name, need in _OPTION_NEEDS.items()),
        ("recipe", settings.recipe, discriminator_of(recipe).needs),
        ("recipe", settings.recipe, ("masks",) if recipe.draws_into_maps else ()),
        ("preset", settings.preset, ("autoencoder",) if recipe.generator.get("depth") else ()),
        ("perceptual_weight", recipe.perceptual_weight or None, ("discriminator", "feature network")),
        ("loss", recipe.loss, find_loss(recipe.loss).needs),
        ("guidance", recipe.guidance or None, ("velocity",)),
        ("simultaneous", recipe.simultaneous or None, ("discriminator", "one step")),
        *(("augmentation", name, ("discriminator", *AUGMENTATIONS[name].needs)) for name in own_augmentation),
        *(("regularisers", name, ("discriminator", *REGULARISERS[name].needs)) for name in recipe.regularisers),
    ]
    for name, value, needs in parts:
        for key in needs if value is not None else ():
            if not _MET[key](recipe, settings):
                free = [own for own, parts in ARCHITECTURES.items() if key.removeprefix("free ") in parts.free_hidden]
                named = recipe.perceptual_network
                published = named and f"{named}, as in the paper (a download, or its file), or a stand-in: "
                facts = {"recipe": recipe, "settings": settings, "taking": ", ".join(free), "published": published}
                found, remedy = (NEEDS[key][part].format(**facts) for part in ("found", "remedy"))
                raise SonoforgeError(f"{name} cannot be {value!r} with {found}; {remedy}")
