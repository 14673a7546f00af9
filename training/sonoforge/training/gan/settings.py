"""How the options of a GAN training that were left open are filled in from the recipe."""

import dataclasses
import inspect
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sonoforge.models.layers import ACTIVATIONS, NORMS
from sonoforge.runtime.errors import SonoforgeError, did_you_mean
from sonoforge.training.gan.needs import check_needs
from sonoforge.training.gan.networks import ARCHITECTURES, discriminator_of
from sonoforge.training.gan.objectives.regularisers import REGULARISERS
from sonoforge.training.gan.options import PUBLISHED, GanSettings
from sonoforge.training.gan.recipes import OPTIMISERS, OptimiserSettings, Recipe, Strength, find_recipe

# Settings that do not change what is computed; a training may be continued with others.  What is measured and how
# often changes no weight either, but is compared: the figures of one folder are measured in one way.
NOT_COMPARED = frozenset({"keep"})


class Plan(NamedTuple):
    """How long and in which batches to train, with everything that was left open filled in."""

    steps: int
    batch: int
    image_size: int
    tick_steps: int


# Settings that replace what the recipe has by the same name.
_REPLACING = (
    "loss", "augmentation", "schedule", "mirror", "kept_maps", "perceptual_weight", "n_critic", "latent_size",
)  # fmt: skip


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
        batch = settings.batch or recipe.budget_for(settings.class_name).batch
        gamma = 0.0002 * side**2 / batch  # the rule of the authors' code of StyleGAN2-ADA and StyleGAN3
        strengths = {**recipe.regularisers, "r1": recipe.regularisers["r1"]._replace(weight=gamma)}
        recipe = dataclasses.replace(recipe, regularisers=strengths)
    changes: dict[str, Any] = {name: getattr(settings, name) for name in _REPLACING}
    changes["conditioning"] = _conditioning(recipe, settings)
    changes["regularisers"] = None if settings.regularisers is None else parse_regularisers(settings.regularisers)
    generator, discriminator = _network_options(recipe, settings)
    recipe = dataclasses.replace(
        recipe,
        **{key: value for key, value in changes.items() if value is not None},
        generator=generator,
        discriminator=discriminator,
        generator_optimiser=_optimiser(recipe.generator_optimiser, settings, settings.learning_rate),
        discriminator_optimiser=_optimiser(
            recipe.discriminator_optimiser, settings, settings.discriminator_learning_rate or settings.learning_rate
        ),
    )
    check_needs(recipe, settings)
    return recipe


def _network_options(recipe: Recipe, settings: GanSettings) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return the options of generator and discriminator."""
    generator, discriminator = dict(recipe.generator), dict(recipe.discriminator)
    for name, known in (("activation", ACTIVATIONS), ("norm", NORMS)):
        value = getattr(settings, name)
        if value is None:
            continue
        _check_known(name, value, known)
        generator[name] = value
        if discriminator.get(name) != "none":  # a critic without normalisation stays so
            discriminator[name] = value
    if settings.width is not None:
        taken = inspect.signature(ARCHITECTURES[recipe.architecture].generator).parameters
        if not {"width", "options"} & set(taken):
            raise SonoforgeError(
                f"GAN training: width: found {settings.width}, but the {recipe.architecture} networks have one size; "
                "leave it out, or choose another recipe"
            )
        generator |= ARCHITECTURES[recipe.architecture].width_options(settings.width)
        discriminator |= discriminator_of(recipe).width_options(settings.width)
    if settings.generator_cell is not None:
        generator["cell"] = settings.generator_cell
    if settings.discriminator_cell is not None:
        discriminator["cell"] = settings.discriminator_cell
    return generator, discriminator


def measures_in_features(settings: GanSettings) -> bool:
    """Whether metrics whose space is not named are measured in the network of ``features``.

    Not where the discriminator sees images through it: what it sees is what the generator learns to satisfy.
    """
    return bool(settings.features) and not discriminator_of(compose(settings)).projected


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
        chosen = chosen._replace(betas=(settings.beta1, chosen.betas[1]))
    return chosen if rate is None else chosen._replace(learning_rate=rate)


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
