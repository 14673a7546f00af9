"""Which settings are chosen inside each training fold, and of which values."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sonoforge.runtime.cli.options import resolve_config
from sonoforge.runtime.errors import SonoforgeError, did_you_mean
from sonoforge.training.classifier.options import CHOOSABLE, ClassifierOptions
from sonoforge.training.statistics.results import ComparisonResults

Values = dict[str, Any]
"""Numbers for some fields of `ClassifierSettings`, by name."""
OPTION = "--choose"


@dataclass(frozen=True)
class Choosing:
    """A grid of settings, of which inner folds choose one point for each outer fold."""

    grid: tuple[tuple[str, tuple[float, ...]], ...]  # fields of `ClassifierSettings`, each with at least two values
    inner_folds: int

    @property
    def trainings(self) -> int:
        """Number of inner trainings for each outer fold."""
        return len(self.candidates) * self.inner_folds

    @property
    def candidates(self) -> list[Values]:
        """All points of the grid; the last setting varies fastest."""
        names = [name for name, _ in self.grid]
        return [
            dict(zip(names, point, strict=True)) for point in itertools.product(*(values for _, values in self.grid))
        ]


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
        elif not named or name not in CHOOSABLE:
            known = [_typed(own) for own in CHOOSABLE]
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


def check_not_given(given: Sequence[str], options: ClassifierOptions) -> None:
    """Refuse a setting that is to be chosen and has a value, too.

    Raises:
        SonoforgeError: Names it.
    """
    choosing = read_choosing(given, 0)
    for name, _ in choosing.grid if choosing else ():
        value = getattr(options, name)
        if value is not None:
            raise SonoforgeError(
                f"{OPTION}: found {_typed(name)} to be chosen, and --{_typed(name)} {value}; leave one of them out"
            )


def _values(name: str, texts: Sequence[str]) -> tuple[float, ...]:
    try:
        values = tuple(getattr(resolve_config(ClassifierOptions, {name: text}, None), name) for text in texts)
    except SonoforgeError as error:
        raise SonoforgeError(f"{OPTION}: {str(error).removeprefix('--')}") from None
    if len(values) < 2:
        raise SonoforgeError(
            f"{OPTION}: found one value of {_typed(name)}, expected at least two; a single one is --{_typed(name)}"
        )
    if len(set(values)) < len(values):
        raise SonoforgeError(f"{OPTION}: found {_typed(name)}={','.join(texts)}, expected each value once")
    return values


def _typed(name: str) -> str:
    """Return the name as it is typed."""
    return name.replace("_", "-")
