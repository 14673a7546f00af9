"""What a search has found: every trial as a row, the best of each recipe, and how much each parameter mattered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from optuna.trial import FrozenTrial

from sonoforge.training.trials.training import ENDED
from sonoforge.training.tuning.parameters import NAMES

FIGURES = ("kid", "kid_standard_error", "fid", "kimg", "step", "diversity", "seconds", "seed")
COLUMNS = ("recipe", "trial", "state", *FIGURES, *NAMES, "why", "run")

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


def spread(rows: Sequence[Row], figure: str) -> list[float]:
    """Return a figure of the complete trials, lowest first."""
    return sorted(row[figure] for row in rows if row["state"] in ENDED)
