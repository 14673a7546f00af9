"""The space that a recipe's settings are searched in: rows of the table, narrowed by the user."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from sonoforge.runtime.errors import SonoforgeError, did_you_mean
from sonoforge.training.gan.options import GanSettings
from sonoforge.training.gan.recipes.row import Recipe, Strength
from sonoforge.training.search.parameters import (
    NAMES,
    PARAMETERS,
    REGULARISER_NAMES,
    REGULARISERS,
    Parameter,
    Value,
    own_number,
)

DIGITS = 3  # significant ones that a number is rounded to: no training tells further ones apart
_OPTIONS = {field.name: field for field in dataclasses.fields(GanSettings)}

Values = Mapping[str, Value]


def recipe_space(recipe: Recipe, settings: GanSettings, narrowed: Sequence[Parameter]) -> tuple[Parameter, ...]:
    """Return what is searched of a recipe, with absolute ranges.

    Args:
        recipe: With the settings applied.
        settings: As the user gave them; an option that is set there is fixed, and not searched.
        narrowed: Ranges of the user, from `read_search`, in place of the table's.

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
        usual = row._replace(low=row.low * base, high=row.high * base)
        space.append(own[row.name]._replace(optimiser=row.optimiser) if row.name in own else usual)
    if not space:
        raise SonoforgeError(
            f"{settings.recipe}: found nothing to search, as every setting is fixed; leave some out, such as "
            "--learning-rate"
        )
    return tuple(space)


def read_search(texts: Sequence[str], settings: GanSettings, recipes: Sequence[Recipe]) -> tuple[Parameter, ...]:
    """Read the user's ``NAME=LOW:HIGH`` and ``NAME=a,b,c``.

    Raises:
        SonoforgeError: Another form; a name that is unknown, given twice, fixed, or of none of the recipes; or values
            out of the range of the option.
    """
    found: dict[str, Parameter] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        name = name.strip().removeprefix("--").replace("_", "-")
        if name not in NAMES:
            hint = did_you_mean(name, NAMES)
            raise SonoforgeError(f"--search: found {name!r}, expected one of {', '.join(NAMES)}{hint}")
        rows = [row for row in PARAMETERS if row.name == name]
        if name in found:
            raise SonoforgeError(f"--search: found {name} twice, expected it once")
        if not any(row.applies(recipe) for row in rows for recipe in recipes):
            raise SonoforgeError(f"--search: found {name}, which none of the recipes has or takes; leave it out")
        if getattr(settings, rows[0].field) is not None:
            flag = "--" + rows[0].field.replace("_", "-")
            raise SonoforgeError(f"--search: found {name}, which {flag} fixes; leave one of the two out")
        found[name] = _read_values(rows[0], values if equals else "", text)
    return tuple(found.values())


def _read_values(row: Parameter, text: str, given: str) -> Parameter:
    refused = SonoforgeError(
        f"--search: found {given!r}, expected {row.name}=LOW:HIGH, with LOW below HIGH, or two or more values: "
        f"{row.name}=a,b,c"
    )
    kind: type = str
    if row.name in REGULARISER_NAMES:
        kind = float
    elif not isinstance((row.choices or (0.0,))[0], str):
        kind = int if row.whole or row.choices else float
    low, colon, high = text.partition(":")
    try:
        ends = tuple(kind(part) for part in ((low, high) if colon else text.split(",")))
    except ValueError:
        raise refused from None
    if len(set(ends)) < 2 or (colon and (kind is str or not ends[0] < ends[1])):
        raise refused
    for value in ends:
        _check_value(row, value)
    if not colon:
        return Parameter(row.name, choices=ends)
    return Parameter(row.name, (), ends[0], ends[1], log=row.log, whole=kind is int)


def _check_value(row: Parameter, value: Value) -> None:
    metadata = _OPTIONS[row.field].metadata
    if isinstance(value, str):
        if metadata["choices"] and value not in metadata["choices"]:
            known = metadata["choices"]
            hint = did_you_mean(value, known)
            raise SonoforgeError(f"--search {row.name}: found {value!r}, expected some of {', '.join(known)}{hint}")
        return
    low, high = metadata["limits"]
    if (low is not None and value < low) or (high is not None and value > high) or not math.isfinite(value):
        raise SonoforgeError(
            f"--search {row.name}: found {value:g}, expected a number {'of at least ' + format(low, 'g')}"
            + (f" and at most {high:g}" if high is not None else "")
        )
    if row.log and value <= 0:
        raise SonoforgeError(f"--search {row.name}: found {value:g}, expected a number above 0")


def rounded(value: Value) -> Value:
    """Return a number as it is trained with and printed: of `DIGITS` significant digits."""
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def with_values(settings: GanSettings, recipe: Recipe, values: Values) -> GanSettings:
    """Return settings with a trial's values in them.

    Args:
        settings: As the user gave them.
        recipe: With these settings applied.
        values: By name of the parameter.
    """
    changes: dict[str, Any] = {
        name.replace("-", "_"): value for name, value in values.items() if name not in REGULARISER_NAMES
    }
    weights = {name: float(value) for name, value in values.items() if name in REGULARISER_NAMES}
    if weights:
        changes[REGULARISERS] = ",".join(
            _strength(name, own._replace(weight=weights.get(name, own.weight)))
            for name, own in recipe.regularisers.items()
        )
    return dataclasses.replace(settings, **changes)


def _strength(name: str, strength: Strength) -> str:
    return f"{name}={strength.weight:g}" + (f":{strength.interval}" if strength.interval > 1 else "")
