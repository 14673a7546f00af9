"""What a search has found: every trial as a row, the best of each recipe, and how much each parameter mattered."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from optuna.trial import FrozenTrial

from sonoforge.training.gan.options import GanSettings
from sonoforge.training.tuning.parameters import NAMES
from sonoforge.training.tuning.study import ENDED

FIGURES = ("kid", "kid_standard_error", "fid", "kimg", "step", "diversity", "seconds", "seed")
COLUMNS = ("recipe", "trial", "state", *FIGURES, *NAMES, "why", "run")
# Of each trial, set by the search itself, or of no use in one training.
_NOT_IN_COMMANDS = {"metrics", "every", "tick_steps", "stop_after", "seed", "held_out", "keep"}

Row = dict[str, Any]


class Searched(NamedTuple):
    """One recipe's search, at its end or so far."""

    recipe: str
    rows: list[Row]  # every trial that has ended, by number
    best: Row | None  # the complete trial of the lowest KID
    apart: dict[str, Any]  # its figures against images that chose nothing; empty where none were set apart
    command: str  # trains anew with its settings
    importances: dict[str, float]  # share of each parameter in the variance of KID
    no_importances: str  # why there are none

    @property
    def states(self) -> dict[str, int]:
        """Number of trials by how they ended."""
        names = [row["state"] for row in self.rows]
        return {name: names.count(name) for name in dict.fromkeys(sorted(names))}


def trial_row(recipe: str, trial: FrozenTrial, run: str) -> Row:
    """Return an ended trial in the columns of the table; the KID of one that was given up is its last.

    Args:
        recipe: Its study.
        trial: As it was told.
        run: Its folder.
    """
    attributes: Mapping[str, Any] = trial.user_attrs
    figures = {name: attributes.get(name) for name in FIGURES}
    about = {"recipe": recipe, "trial": trial.number, "state": attributes["state"]}
    return {**about, **figures, **attributes["values"], "why": attributes.get("why", ""), "run": run}


def train_command(data: str, settings: GanSettings) -> str:
    """Return the ``gan train`` that trains with these settings anew.

    Args:
        data: Flags of the data.
        settings: Of a trial.
    """
    words = [f"sonoforge gan train {data}"]
    for field in dataclasses.fields(GanSettings):
        value = getattr(settings, field.name)
        if field.name in _NOT_IN_COMMANDS or (value == field.default and field.name != "recipe"):
            continue
        flag = "--" + field.name.replace("_", "-")
        words.append(flag if value is True else f"{flag} {shlex.quote(format_value(value))}")
    return " ".join(words)


def format_value(value: object) -> str:
    """Print a setting as it is typed."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def spread(rows: Sequence[Row], figure: str) -> list[float]:
    """Return a figure of the complete trials, lowest first."""
    return sorted(row[figure] for row in rows if row["state"] in ENDED)
