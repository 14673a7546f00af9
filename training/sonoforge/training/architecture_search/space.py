"""Define the space for searching a recipe's settings: rows of a table, narrowed by the user.

The rows are what Thakur and Thakur search (optimiser, batch renormalisation, architecture) and the numbers that each
recipe's paper had to find.  Each row is data, and a new parameter is a new row.
"""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sonoforge.runtime.cli.options import resolve_config
from sonoforge.runtime.errors import SonoforgeError, check_known
from sonoforge.training.gan.options import PUBLISHED, GanSettings
from sonoforge.training.gan.recipes import RECIPES, Recipe

Value = str | int | float


class Parameter(NamedTuple):
    """One row: a parameter, and the values to search."""

    name: str  # an option of `GanSettings`, with dashes; or a regulariser, for its weight
    choices: tuple[Value, ...] = ()  # the values; if empty, they lie between low and high
    low: float = 0.0
    high: float = 0.0
    log: bool = False  # whether equal ratios, not differences, are equally likely
    whole: bool = False  # whether the values are whole numbers
    of_own: bool = False  # whether low and high are multiples of the recipe's own number
    losses: tuple[str, ...] = ()  # the only losses of recipes that have it; empty: any
    not_losses: tuple[str, ...] = ()  # the losses of recipes that lack it
    architectures: tuple[str, ...] = ()  # likewise
    optimiser: str = ""  # the only optimiser that has it; empty: any

    @property
    def field(self) -> str:
        """Name of its option of `GanSettings`."""
        return REGULARISERS if self.name in REGULARISER_NAMES else self.name.replace("-", "_")

    def applies(self, recipe: Recipe) -> bool:
        """Whether the recipe allows another value."""
        return (
            recipe.loss in (self.losses or (recipe.loss,))
            and recipe.loss not in self.not_losses
            and recipe.architecture in (self.architectures or (recipe.architecture,))
            and (not self.of_own or own_number(self.name, recipe) > 0)
        )


REGULARISERS = "regularisers"
REGULARISER_NAMES = ("gradient-penalty", "weight-clipping", "r1", "path-length", "orthogonal")
_ROWS: list[dict[str, Any]] = json.loads(Path(__file__).with_name("parameters.json").read_text(encoding="utf-8"))
_LISTS = ("choices", "losses", "not_losses", "architectures")
PARAMETERS = tuple(Parameter(**row | {key: tuple(row.get(key, ())) for key in _LISTS}) for row in _ROWS)
NAMES = tuple(dict.fromkeys(parameter.name for parameter in PARAMETERS))


def own_number(name: str, recipe: Recipe) -> float:
    """Return the recipe's own number for a parameter with a relative range; 0 if it has none."""
    if name in REGULARISER_NAMES:
        return recipe.regularisers[name].weight if name in recipe.regularisers else 0.0
    return {
        "learning-rate": recipe.generator_optimiser.learning_rate,
        "discriminator-learning-rate": recipe.discriminator_optimiser.learning_rate,
        "perceptual-weight": recipe.perceptual_weight,
    }[name]


def describe(parameter: Parameter) -> str:
    """Describe a row."""
    if parameter.choices:
        return f"{parameter.name} ({', '.join(map(str, parameter.choices))})"
    return f"{parameter.name} ({parameter.low:g} to {parameter.high:g})"


DIGITS = 3  # significant digits of a number: no training tells further ones apart

Values = Mapping[str, Value]


def recipe_space(recipe: Recipe, settings: GanSettings, narrowed: Sequence[Parameter]) -> tuple[Parameter, ...]:
    """Return the rows to search for a recipe with the settings applied, with absolute ranges.

    An option given in the settings is fixed. ``narrowed`` holds the user's ranges, which replace the table's.

    Raises:
        SonoforgeError: Everything that applies to the recipe is fixed.
    """
    own = {parameter.name: parameter for parameter in narrowed}
    space = []
    for row in PARAMETERS:
        fixed = getattr(settings, row.field) is not None
        without = row.optimiser and row.optimiser != recipe.generator_optimiser.name and settings.optimiser is not None
        if not row.applies(recipe) or fixed or without:
            continue
        base = own_number(row.name, recipe) if row.of_own else 1.0
        absolute = row._replace(low=row.low * base, high=row.high * base)
        space.append(own[row.name]._replace(optimiser=row.optimiser) if row.name in own else absolute)
    if not space:
        raise SonoforgeError(
            f"{settings.recipe}: nothing is left to search, as every setting is fixed; leave some out, such as "
            "gan.learning_rate"
        )
    return tuple(space)


def read_search(texts: Sequence[str], settings: GanSettings, recipes: Sequence[Recipe]) -> tuple[Parameter, ...]:
    """Read the user's ``NAME=LOW:HIGH`` and ``NAME=a,b,c``.

    Raises:
        SonoforgeError: The form is wrong; a name is unknown, repeated, fixed or inapplicable; or values are outside the
            option's range.
    """
    found: dict[str, Parameter] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        name = name.strip().removeprefix("--").replace("_", "-")
        check_known("--over", name, NAMES)
        rows = [row for row in PARAMETERS if row.name == name]
        if name in found:
            raise SonoforgeError(f"--over: {name} is given twice")
        if not any(row.applies(recipe) for row in rows for recipe in recipes):
            raise SonoforgeError(f"--over: none of the recipes has {name}; leave it out")
        if getattr(settings, rows[0].field) is not None:
            raise SonoforgeError(f"--over: {name} is fixed by gan.{rows[0].field}; leave one of the two out")
        found[name] = _read_values(rows[0], values if equals else "", text)
    return tuple(found.values())


def _read_values(row: Parameter, text: str, given: str) -> Parameter:
    low, colon, high = text.partition(":")
    ends: list[Any] = [_read_value(row, part) for part in ((low, high) if colon else text.split(","))]
    if len(set(ends)) < 2 or (colon and (isinstance(ends[0], str) or not ends[0] < ends[1])):
        raise SonoforgeError(
            f"--over: {given!r} is neither {row.name}=LOW:HIGH, with LOW below HIGH, nor two or more values: "
            f"{row.name}=a,b,c"
        )
    if not colon:
        return Parameter(row.name, choices=tuple(ends))
    return Parameter(row.name, (), ends[0], ends[1], log=row.log, whole=isinstance(ends[0], int))


def _read_value(row: Parameter, text: str) -> Value:
    """Read one value as the option of `GanSettings` does; a regulariser's weight is a number above 0."""
    try:
        if row.name not in REGULARISER_NAMES:
            value: Value = getattr(resolve_config(GanSettings, {row.field: text}, None), row.field)
        else:
            value = float(text)
    except ValueError:
        raise SonoforgeError(f"--over {row.name}: {text!r} is not a number") from None
    except SonoforgeError as error:
        raise SonoforgeError(f"--over {str(error).removeprefix('--')}") from None
    if isinstance(value, float) and (not math.isfinite(value) or (row.log and value <= 0)):
        raise SonoforgeError(f"--over {row.name} must be a finite number above 0, not {value:g}")
    return value


def rounded(value: Value) -> Value:
    """Round a number to `DIGITS` significant digits, for training and printing."""
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def with_values(settings: GanSettings, recipe: Recipe, values: Values) -> GanSettings:
    """Return settings with a trial's values; the recipe has the settings applied."""
    changes: dict[str, Any] = {
        name.replace("-", "_"): value for name, value in values.items() if name not in REGULARISER_NAMES
    }
    weights = {name: float(value) for name, value in values.items() if name in REGULARISER_NAMES}
    if weights:
        changes[REGULARISERS] = ",".join(
            f"{name}={weights.get(name, own.weight):g}" + (f":{own.interval}" if own.interval > 1 else "")
            for name, own in recipe.regularisers.items()
        )
    return dataclasses.replace(settings, **changes)


def best_settings(run: Path) -> dict[str, Values]:
    """Return the values of the best trial of each recipe of a ``tune`` run, by ``RECIPE`` or ``RECIPE:PRESET``.

    Raises:
        SonoforgeError: The run is not a finished run of ``tune``.
    """
    from sonoforge.training.run_folder import read_config, read_results  # noqa: PLC0415 - needs yaml

    preset = read_config(run).get("gan.preset", PUBLISHED)
    try:
        studies = read_results(run)["studies"]
        bests = {name: study["best"] for name, study in studies.items() if name in RECIPES and study["best"]}
    except (OSError, ValueError, LookupError, TypeError):
        bests = {}
    if not bests:
        raise SonoforgeError(f"{run}: not a finished run of gan search: it has no best trial of a recipe")
    return {
        name if preset == PUBLISHED else f"{name}:{preset}": {
            key: best[key] for key in NAMES if best.get(key) is not None
        }
        for name, best in bests.items()
    }
