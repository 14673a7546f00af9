"""Say where settings were chosen: inside each training fold (``crossval.choose``) or with a budget; on which images."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sonoforge.runtime.bundle.reader import open_bundle
from sonoforge.runtime.cli.options import resolve_config
from sonoforge.runtime.errors import SonoforgeError, did_you_mean
from sonoforge.training.classifier.settings import BUDGETS, CHOOSABLE, ROWS, ClassifierOptions
from sonoforge.training.classifier.trained_on import find_seen
from sonoforge.training.crossval.arms import MOST, Arm, find_arm, read_number
from sonoforge.training.data.cache import ImageCache
from sonoforge.training.statistics.results import Record
from sonoforge.training.statistics.wording import listed

Values = dict[str, Any]  # numbers for some fields of `ClassifierSettings`, by name, and for the `DOSE`
DOSE = "dose"  # how many images an arm adds, see `arms.added_counts`
OPTION = "--set crossval.choose"


@dataclass(frozen=True)
class Choosing:
    """A grid of settings; inner folds choose one of its points for each outer fold."""

    grid: tuple[tuple[str, tuple[float, ...]], ...]  # `Values` by name, at least two each
    inner_folds: int

    def candidates(self, arm: Arm) -> list[Values]:
        """Return the points of the grid that apply to an arm, the last setting varying fastest.

        Arms that add nothing have no dose; comparators have no settings to choose.
        """
        grid = [] if arm.comparator else [(name, values) for name, values in self.grid if name != DOSE or arm.fill]
        if not grid:
            return []
        names = [name for name, _ in grid]
        return [dict(zip(names, point, strict=True)) for point in itertools.product(*(values for _, values in grid))]


def of_classifier(values: Values) -> Values:
    """Return the values that are classifier settings; chosen epochs are exact."""
    exact = {"least_steps": 0} if "epochs" in values else {}
    return {name: value for name, value in values.items() if name != DOSE} | exact


def with_dose(arm: Arm, values: Values) -> Arm:
    """Return the arm at the dose among the values, if any."""
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
    """Refuse a grid that applies to no arm, or a choice of dose if an arm already has one."""
    names = ", ".join(_typed(name) for name, _ in choosing.grid)
    if not any(choosing.candidates(find_arm(arm)) for arm in arms):
        raise SonoforgeError(f"{OPTION}: none of the arms has {names} to choose: {','.join(arms)}")
    named = [arm for arm in arms if find_arm(arm).dose != 1]
    if named and DOSE in dict(choosing.grid):
        raise SonoforgeError(f"{OPTION}: {DOSE} cannot be chosen, because the arm {named[0]} sets one")


def choosing_of(results: Record) -> Choosing | None:
    """Return the grid that a run with these results chose from, if any."""
    choice = results.get("choice")
    if choice is None:
        return None
    return Choosing(tuple((name, tuple(values)) for name, values in choice["grid"].items()), choice["inner_folds"])


def read_choosing(given: Sequence[str], inner_folds: int) -> Choosing | None:
    """Read ``learning-rate=0.0005``, ``0.001``, ``epochs=3``, ``5``: names, each before its values; None if empty."""
    grid: dict[str, list[str]] = {}
    for word in given:
        key, named, value = word.partition("=")
        name = key.strip().replace("-", "_")
        if not named and grid:
            grid[next(reversed(grid))].append(word)
        elif not named or name not in (*CHOOSABLE, DOSE):
            known = [_typed(own) for own in (*CHOOSABLE, DOSE)]
            raise SonoforgeError(
                f"{OPTION}: {word!r} is not NAME=VALUE,VALUE,... with NAME any of {', '.join(known)}"
                + did_you_mean(_typed(name), known)
            )
        elif name in grid:
            raise SonoforgeError(f"{OPTION}: {_typed(name)} is given twice; give it once with all its values")
        else:
            grid[name] = [value]
    if not grid:
        return None
    return Choosing(tuple((name, _values(name, texts)) for name, texts in grid.items()), inner_folds)


def check_not_given(choosing: Choosing, options: ClassifierOptions) -> None:
    """Refuse a setting that is both given and up for choice."""
    for name, _ in choosing.grid:
        value = None if name == DOSE else getattr(options, name)
        if value is not None:
            raise SonoforgeError(
                f"{OPTION}: {_typed(name)} is both up for choice and given (classifier.{name}={value}); leave one out"
            )


def _values(name: str, texts: Sequence[str]) -> tuple[float, ...]:
    try:
        if name == DOSE:
            values = tuple(read_number(DOSE, text, MOST) for text in texts)
        else:
            values = tuple(getattr(resolve_config(ClassifierOptions, {name: text}, None), name) for text in texts)
    except SonoforgeError as error:
        raise SonoforgeError(f"{OPTION}: {str(error).removeprefix('--')}") from None
    if len(values) < 2:
        alone = "an arm's, as in gan:2" if name == DOSE else f"classifier.{name}"
        raise SonoforgeError(
            f"{OPTION}: {_typed(name)} has only one value to choose from; give two, or set the single one as {alone}"
        )
    if len(set(values)) < len(values):
        raise SonoforgeError(f"{OPTION}: {_typed(name)}={','.join(texts)} repeats a value")
    return values


def _typed(name: str) -> str:
    return name.replace("_", "-")  # as users type it


CHOSEN, CHOSEN_ON = ({name: row[key] for name, row in ROWS.items()} for key in ("chosen", "chosen_on"))
"""How the settings of each budget were chosen, and on which collections."""
SEEDS = {"quick": (0,)}  # whose folds of BUSI a budget was chosen on; other seeds deal the same images afresh
# The arm `weighted` sets the first; the others choose nothing.
_NO_CHOICE = ("class_weights", "test_curves", "least_steps")


def count_chosen_on(budget: str, cache: ImageCache) -> int:
    """Count images from the collections that a budget was chosen on, changed copies included.

    The shipped bundle was trained on these collections and recognises their images, see `find_seen`.
    """
    return sum(seen.collection in CHOSEN_ON[budget] for seen in find_seen(open_bundle(None), cache))


def chosen_seeds(budget: str, known: int) -> tuple[int, ...]:
    """Return the seeds that the budget was chosen with, if it was chosen on ``known`` of the run's images."""
    return SEEDS.get(budget, ()) if known else ()


def describe_seeds(budget: str, known: int, seeds: Sequence[int]) -> str:
    """Distinguish seeds that a budget was chosen with from fresh ones; empty if that makes no difference."""
    chosen = chosen_seeds(budget, known)
    if not chosen:
        return ""
    old, fresh = [str(seed) for seed in seeds if seed in chosen], [str(seed) for seed in seeds if seed not in chosen]
    parts = [f"seed {' and '.join(old)} is the one that the budget was chosen with"] * bool(old)
    are = "s {} are fresh" if len(fresh) > 1 else " {} is fresh"
    parts += [f"seed{are.format(' and '.join(fresh))}, but deal{'s' * (len(fresh) == 1)} the same images"] * bool(fresh)
    return "; ".join(parts)


def describe_choice(
    budget: str,
    settings: Mapping[str, Any],
    known: int,
    images: int,
    seeds: Sequence[int],
    choosing: Choosing | None = None,
) -> str:
    """Say where a run's settings were chosen, and what that means for figures on its images.

    The budget was chosen on ``known`` of the run's images, see `count_chosen_on`; ``choosing`` is the grid that the run
    chose from inside its folds, ``settings`` are its `ClassifierSettings`.
    """
    names = CHOSEN_ON[budget]
    whose = f"{names[0]}'s" if len(names) == 1 else f"of {listed(names)}"
    if known:
        shared = f"These images are {whose}" if known == images else f"{known} of these {images} images are {whose}"
        sentence = describe_seeds(budget, known, seeds)
        effect = f"{shared}, so the figures are optimistic, by an amount that was not measured."
        effect += f" {sentence[0].upper()}{sentence[1:]}." if sentence else ""
    else:
        effect = "None of these images is among them, so that choice does not flatter these figures."
    said = f"{CHOSEN[budget]}. {effect}"
    own, nested = vars(BUDGETS[budget]), dict(choosing.grid) if choosing else {}
    if choosing:
        said += (
            f" This run chose {name_grid(nested)} itself, inside each training fold, on {choosing.inner_folds} inner "
            "folds (nested cross-validation), so that no test image had a part in it."
        )
    changed = [
        f"{name.replace('_', ' ')} {settings[name]} instead of {own[name]}"
        for name in own
        if name not in (*_NO_CHOICE, *nested) and settings.get(name, own[name]) != own[name]
    ]
    if changed:
        said += f" This run departs from the budget ({', '.join(changed)}); how that was chosen is not recorded."
    return said
