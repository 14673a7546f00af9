"""What the parts of a training need of each other.

An architecture, a loss, an augmentation, a regulariser, a recipe's row or an option names its needs; what meets one,
and what to do where nothing does, is a row of `NEEDS`.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.gan.augmentations import AUGMENTATIONS
from sonoforge.training.gan.networks import ARCHITECTURES, discriminator_of
from sonoforge.training.gan.objectives.losses import LOSSES
from sonoforge.training.gan.objectives.regularisers import REGULARISERS
from sonoforge.training.gan.options import GanSettings
from sonoforge.training.gan.recipes import Recipe


class Need(NamedTuple):
    """Something that a part needs of the composition it is in."""

    met: Callable[[Recipe, GanSettings], bool]
    found: str  # what stands there instead, of the `recipe` and the `settings`
    expected: str
    remedy: str


def _free(option: str) -> Need:
    """Of an option of the hidden layers: that the networks take it."""
    taking = ", ".join(name for name, own in ARCHITECTURES.items() if option in own.free_hidden)
    return Need(
        lambda recipe, _: option in ARCHITECTURES[recipe.architecture].free_hidden,
        "the {recipe.architecture} networks",
        "networks that do not fix their own",
        f"leave it out, or choose a recipe with networks that take any ({taking})",
    )


NEEDS: dict[str, Need] = {
    "reconstruction errors": Need(
        lambda recipe, _: discriminator_of(recipe).reconstruction,
        "the {recipe.architecture} networks",
        "scores that are reconstruction errors",
        "choose recipe began, whose discriminator is an autoencoder",
    ),
    "reconstruction loss": Need(
        lambda recipe, _: LOSSES[recipe.loss].reconstruction,
        "the loss {recipe.loss}",
        "one of reconstruction errors",
        "leave the loss out, or choose another recipe",
    ),
    "signed scores": Need(
        lambda recipe, _: LOSSES[recipe.loss].signed,
        "the loss {recipe.loss}",
        "one with a boundary at 0 to adapt by",
        "use diffaugment",
    ),
    "masks": Need(lambda _, settings: settings.masks, "masks off", "masks: it draws into label maps", "add --masks"),
    "label maps": Need(
        lambda recipe, _: recipe.draws_into_maps,
        "the recipe {settings.recipe}",
        "one that draws into label maps, and keeps some",
        "leave it out, or choose spade, or projected with --preset label-maps",
    ),
    "latents alone": Need(
        lambda recipe, _: not recipe.draws_into_maps,
        "the recipe {settings.recipe}",
        "one that draws from latents alone, not into label maps",
        "leave it out",
    ),
    "an encoder": Need(
        lambda recipe, _: bool(recipe.generator.get("encoder")),
        "the recipe {settings.recipe}",
        "one with an encoder",
        "choose spade with --preset encoder",
    ),
    "feature network": Need(
        lambda _, settings: bool(settings.features),
        "no feature network",
        "one to see images through",
        "give features: a .safetensors file, squeezenet1_1, mobilenet_v2 or vgg16",
    ),
    "free activation": _free("activation"),
    "free norm": _free("norm"),
    "cells": Need(
        lambda recipe, _: ARCHITECTURES[recipe.architecture].cells,
        "the {recipe.architecture} networks",
        "networks of cells",
        "leave it out, or choose recipe ga-gan",
    ),
    "adam": Need(
        lambda recipe, _: {recipe.generator_optimiser.name, recipe.discriminator_optimiser.name} == {"adam"},
        "the optimiser {recipe.generator_optimiser.name}",
        "adam",
        "leave it out, or choose adam",
    ),
    "kid": Need(
        lambda _, settings: "kid" in settings.metrics,
        "no KID among the metrics",
        "KID measured, which it stops on",
        "give metrics kid",
    ),
}
# Of options, where they are given.
OPTION_NEEDS = {
    "kept_maps": "label maps",
    "activation": "free activation",
    "norm": "free norm",
    "generator_cell": "cells",
    "discriminator_cell": "cells",
    "beta1": "adam",
    "stop_after": "kid",
}


def _declared(recipe: Recipe, settings: GanSettings) -> Iterator[tuple[str, object, str]]:
    """Yield name and value of each part with the name of each of its needs."""
    for name, need in OPTION_NEEDS.items():
        if getattr(settings, name) is not None:
            yield name, getattr(settings, name), need
    parts = [
        ("recipe", settings.recipe, discriminator_of(recipe).needs),
        ("recipe", settings.recipe, ("masks",) if recipe.draws_into_maps else ()),
        ("perceptual_weight", recipe.perceptual_weight, ("feature network",) if recipe.perceptual_weight else ()),
        ("loss", recipe.loss, LOSSES[recipe.loss].needs),
        ("augmentation", recipe.augmentation, AUGMENTATIONS[recipe.augmentation].needs),
        *(("regularisers", name, REGULARISERS[name].needs) for name in recipe.regularisers),
    ]
    for name, value, needs in parts:
        yield from ((name, value, need) for need in needs)


def check_needs(recipe: Recipe, settings: GanSettings) -> None:
    """Refuse parts of a recipe, with all settings applied, that do not go together.

    Raises:
        SonoforgeError: The first need that is not met.
    """
    for name, value, key in _declared(recipe, settings):
        need = NEEDS[key]
        if not need.met(recipe, settings):
            found = need.found.format(recipe=recipe, settings=settings)
            raise SonoforgeError(f"{name}: found {value!r} with {found}, expected {need.expected}; {need.remedy}")
