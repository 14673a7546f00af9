"""The table of what a search may change of a recipe: each row is data, and a new parameter is a new row.

The rows are what Thakur and Thakur search over (optimiser, batch renormalisation, architecture) and the numbers that
each recipe's own paper had to find.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from sonoforge.training.gan.recipes.row import Recipe

Value = str | int | float


class Parameter(NamedTuple):
    """One row: what is searched, and where."""

    name: str  # of an option of `GanSettings` with dashes; or a regulariser, whose weight is meant
    choices: tuple[Value, ...] = ()  # the values, where they are listed; else they lie between these two
    low: float = 0.0
    high: float = 0.0
    log: bool = False  # whether equal ratios are equally likely, instead of equal differences
    whole: bool = False  # whether the values are whole numbers
    of_own: bool = False  # whether low and high are multiples of the recipe's own number
    applies: Callable[[Recipe], bool] = lambda recipe: True  # whether the recipe takes another value than its own
    optimiser: str = ""  # the only optimiser that has it; empty: any

    @property
    def field(self) -> str:
        """Name of the option of `GanSettings` that holds it."""
        return REGULARISERS if self.name in REGULARISER_NAMES else self.name.replace("-", "_")


def has(regulariser: str) -> Callable[[Recipe], bool]:
    """Return whether a recipe has this regulariser, as a function of the recipe."""
    return lambda recipe: regulariser in recipe.regularisers


def of(*architectures: str) -> Callable[[Recipe], bool]:
    """Return whether a recipe is of one of these architectures, as a function of the recipe."""
    return lambda recipe: recipe.architecture in architectures


REGULARISERS = "regularisers"
REGULARISER_NAMES = ("gradient-penalty", "weight-clipping", "r1", "path-length", "orthogonal", "kl-divergence")
RATE, WEIGHT = (0.1, 10.0), (0.1, 10.0)  # a factor of ten to either side of what is published
BY_LAYER = ("dcgan", "began", "biggan", "spade")  # `width` is the number of channels of the base layer
BY_WIDEST = ("progan", "stylegan1", "stylegan2", "stylegan3")  # `width` is that of the widest layer

PARAMETERS: tuple[Parameter, ...] = (
    Parameter("optimiser", choices=("adam", "rmsprop")),
    Parameter("learning-rate", (), *RATE, log=True, of_own=True),
    Parameter("discriminator-learning-rate", (), *RATE, log=True, of_own=True),
    Parameter("beta1", low=0.0, high=0.9, optimiser="adam"),
    Parameter("batch", choices=(8, 16, 32, 64)),
    Parameter("n-critic", low=1, high=5, whole=True, applies=lambda recipe: recipe.loss == "wasserstein"),
    Parameter("norm", choices=("batch", "batch-renorm"), applies=of("dcgan", "dcgan-thesis")),
    Parameter("width", choices=(16, 32, 64), applies=of(*BY_LAYER)),
    Parameter("width", choices=(64, 128, 256), applies=of(*BY_WIDEST)),
    Parameter(
        "perceptual-weight", (), *WEIGHT, log=True, of_own=True, applies=lambda recipe: recipe.perceptual_weight > 0
    ),
    *(Parameter(name, (), *WEIGHT, log=True, of_own=True, applies=has(name)) for name in REGULARISER_NAMES),
)
NAMES = tuple(dict.fromkeys(parameter.name for parameter in PARAMETERS))


def own_number(name: str, recipe: Recipe) -> float:
    """Return the recipe's own number for a parameter whose range is relative to it."""
    if name in REGULARISER_NAMES:
        return recipe.regularisers[name].weight
    return {
        "learning-rate": recipe.generator_optimiser.learning_rate,
        "discriminator-learning-rate": recipe.discriminator_optimiser.learning_rate,
        "perceptual-weight": recipe.perceptual_weight,
    }[name]


def describe(parameter: Parameter) -> str:
    """Return what is searched, in words."""
    if parameter.choices:
        return f"{parameter.name} ({', '.join(map(str, parameter.choices))})"
    return f"{parameter.name} ({parameter.low:g} to {parameter.high:g})"
