"""Which settings are chosen inside each training fold, and of which values."""

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sonoforge.runtime.cli.options import resolve_config
from sonoforge.runtime.errors import SonoforgeError, did_you_mean
from sonoforge.training.classifier.settings import CHOOSABLE, ClassifierOptions
from sonoforge.training.crossval.arms import MOST, Arm, find_arm, read_number
from sonoforge.training.statistics.results import ComparisonResults

Values = dict[str, Any]
"""Numbers for some fields of `ClassifierSettings`, by name, and for the `DOSE`."""
DOSE = "dose"
"""How many images an arm adds, see `arms.added_counts`; those that add none leave it out."""
OPTION = "--choose"


@dataclass(frozen=True)
class Choosing:
    """A grid of settings, of which inner folds choose one point for each outer fold."""

    grid: tuple[tuple[str, tuple[float, ...]], ...]  # `Values` by name, at least two each
    inner_folds: int

    @property
    def trainings(self) -> int:
        """Number of inner trainings for each outer fold, at most."""
        return math.prod(len(values) for _, values in self.grid) * self.inner_folds

    def candidates(self, arm: Arm) -> list[Values]:
        """Return all points of the grid for an arm, the last setting varies fastest; none where it has no such setting.

        An arm that adds nothing has no dose, a comparator nothing that could be chosen.
        """
        grid = [] if arm.comparator else [(name, values) for name, values in self.grid if name != DOSE or arm.fill]
        if not grid:
            return []
        names = [name for name, _ in grid]
        return [dict(zip(names, point, strict=True)) for point in itertools.product(*(values for _, values in grid))]


def of_classifier(values: Values) -> Values:
    """Return those values that are of the classifier's settings; chosen epochs are neither more nor fewer."""
    exact = {"least_steps": 0} if "epochs" in values else {}
    return {name: value for name, value in values.items() if name != DOSE} | exact


def with_dose(arm: Arm, values: Values) -> Arm:
    """Return the arm at the dose among the values, if there is one."""
    return dataclasses.replace(arm, dose=values.get(DOSE, arm.dose))


def name_values(values: Mapping[str, float]) -> str:
    """Return ``learning rate 0.0005 and epochs 8``."""
    return " and ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in values.items())


def name_grid(grid: Mapping[str, Sequence[float]]) -> str:
    """Return ``learning rate (0.0002 or 0.001) and epochs (3, 5 or 8)``."""
    return " and ".join(
        f"{name.replace('_', ' ')} ({', '.join(f'{value:g}' for value in values[:-1])} or {values[-1]:g})"
        for name, values in grid.items()
    )


def check_arms_choose(choosing: Choosing, arms: Sequence[str]) -> None:
    """Refuse a choice that no arm can make, or of a dose that an arm names."""
    names = ", ".join(_typed(name) for name, _ in choosing.grid)
    if not any(choosing.candidates(find_arm(arm)) for arm in arms):
        raise SonoforgeError(f"{OPTION}: found {names} to be chosen, which none of the arms has: {','.join(arms)}")
    named = [arm for arm in arms if find_arm(arm).dose != 1]
    if named and DOSE in dict(choosing.grid):
        raise SonoforgeError(f"{OPTION}: found {DOSE} to be chosen, and the arm {named[0]}, which names one")


def choosing_of(results: ComparisonResults) -> Choosing | None:
    """Return what the run of these results chose inside its folds; None where it chose nothing."""
    choice = results.get("choice")
    if choice is None:
        return None
    return Choosing(tuple((name, tuple(values)) for name, values in choice["grid"].items()), choice["inner_folds"])


def read_choosing(given: Sequence[str], inner_folds: int) -> Choosing | None:
    """Read ``learning-rate=0.0005``, ``0.001``, ``epochs=3``, ``5``: a name and its values, and so on; None of nothing.

    Raises:
        SonoforgeError: An unknown or repeated setting, a value that it cannot have, or fewer than two values.
    """
    grid: dict[str, list[str]] = {}
    for word in given:
        key, named, value = word.partition("=")
        name = key.strip().replace("-", "_")
        if not named and grid:
            grid[next(reversed(grid))].append(word)
        elif not named or name not in (*CHOOSABLE, DOSE):
            known = [_typed(own) for own in (*CHOOSABLE, DOSE)]
            raise SonoforgeError(
                f"{OPTION}: found {word!r}, expected NAME=VALUE,VALUE,... with NAME any of {', '.join(known)}"
                + did_you_mean(_typed(name), known)
            )
        elif name in grid:
            raise SonoforgeError(
                f"{OPTION}: found {_typed(name)} twice, expected each setting once with all its values"
            )
        else:
            grid[name] = [value]
    if not grid:
        return None
    return Choosing(tuple((name, _values(name, texts)) for name, texts in grid.items()), inner_folds)


def check_not_given(choosing: Choosing, options: ClassifierOptions) -> None:
    """Refuse a setting that is to be chosen and has a value, too."""
    for name, _ in choosing.grid:
        value = None if name == DOSE else getattr(options, name)
        if value is not None:
            raise SonoforgeError(
                f"{OPTION}: found {_typed(name)} to be chosen, and --{_typed(name)} {value}; leave one of them out"
            )


def _values(name: str, texts: Sequence[str]) -> tuple[float, ...]:
    try:
        if name == DOSE:
            values = tuple(map(_dose, texts))
        else:
            values = tuple(getattr(resolve_config(ClassifierOptions, {name: text}, None), name) for text in texts)
    except SonoforgeError as error:
        raise SonoforgeError(f"{OPTION}: {str(error).removeprefix('--')}") from None
    if len(values) < 2:
        alone = "an arm's, as in gan:2" if name == DOSE else f"--{_typed(name)}"
        raise SonoforgeError(
            f"{OPTION}: found one value of {_typed(name)}, expected at least two; a single one is {alone}"
        )
    if len(set(values)) < len(values):
        raise SonoforgeError(f"{OPTION}: found {_typed(name)}={','.join(texts)}, expected each value once")
    return values


def _dose(text: str) -> float:
    value = read_number(text, MOST)
    if value is None:
        raise SonoforgeError(f"{DOSE}: found {text!r}, expected a number above 0 and at most {MOST:g}")
    return value


def _typed(name: str) -> str:
    """Return the name as it is typed."""
    return name.replace("_", "-")
