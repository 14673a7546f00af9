"""The results of a search: each trial as a row, the best of each study, the undominated trials, a command."""

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sonoforge.runtime.cli import options
from sonoforge.runtime.cli.options import format_value
from sonoforge.training.architecture_search.study import Trial, best_of
from sonoforge.training.architecture_search.trial import trial_folder
from sonoforge.training.gan.options import FLAGGED, GanSettings

FIGURES = ("kid", "kid_standard_error", "fid", "kimg", "step", "diversity", "seconds", "seed")
COSTS = ("parameters", "latency_ms")

Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Searched:
    """A study at its end or so far."""

    name: str
    trials: Sequence[Trial]  # by number, also those under way
    total: int  # trials in all
    metric: str  # `kid` or `fid`
    # The best trial's figures against images that no trial read; may be empty.
    apart: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    command: str = ""  # trains with its settings
    importances: Mapping[str, float] = dataclasses.field(default_factory=dict)  # share in the metric's variance
    no_importances: str = ""  # why requested importances are missing

    @property
    def ended(self) -> list[Trial]:
        """The finished trials."""
        return [trial for trial in self.trials if trial.ended]

    @property
    def best(self) -> Trial | None:
        """The best trial; None before any was measured."""
        return best_of(self.trials)

    @property
    def states(self) -> dict[str, int]:
        """Number of trials by how they ended."""
        states = [trial.state for trial in self.ended]
        return {state: states.count(state) for state in sorted(set(states))}

    @property
    def names(self) -> list[str]:
        """Names of the values that its trials try."""
        return list(dict.fromkeys(name for trial in self.ended for name in trial.values))

    def summary(self) -> dict[str, Any]:
        """Return its entry in ``results.json``."""
        best = None if self.best is None else trial_row(self.best)
        found = {"trials": len(self.ended), "states": self.states, "best": best, "apart": self.apart}
        return {**found, "command": self.command, "importances": self.importances}


def trial_row(trial: Trial) -> Row:
    """Return an ended trial in the columns of the table, with its last metric."""
    about = {"study": trial.study, "trial": trial.number, "state": trial.state}
    figures = {name: trial.details.get(name) for name in (*FIGURES, *COSTS)}
    folder = trial_folder(Path(), trial.study, trial.number).as_posix()
    return {**about, **figures, **trial.values, "why": trial.details.get("why", ""), "run": folder}


def table_columns(searched: Sequence[Searched]) -> list[str]:
    """Return the columns of the table of all trials."""
    names = dict.fromkeys(name for own in searched for name in own.names)
    return ["study", "trial", "state", *FIGURES, *COSTS, *names, "why", "run"]


def pareto_front(trials: Sequence[Trial], metric: str, cost: str) -> list[Trial]:
    """Return the complete trials that no other beats in the metric without a higher cost, the cheapest first.

    ``cost`` is one of `COSTS`; trials of unknown cost are left out.
    """
    compared = [trial for trial in trials if trial.complete and trial.details.get(cost) is not None]
    front: list[Trial] = []
    for trial in sorted(compared, key=lambda trial: (trial.details[cost], trial.details[metric], trial.number)):
        if not front or trial.details[metric] < front[-1].details[metric]:
            front.append(trial)
    return front


# Options set by the search itself, or useless in a single training.
_NOT_IN_COMMANDS = {"metrics", "every", "tick_steps", "stop_after", "seed", "held_out", "keep"}


def train_command(data: str, settings: GanSettings) -> str:
    """Return the ``gan train`` command for these settings, on the data of these flags."""
    words = [f"sonoforge gan train {data}"]
    for field in dataclasses.fields(GanSettings):
        value = getattr(settings, field.name)
        if field.name in _NOT_IN_COMMANDS or (value == field.default and field.name != "recipe"):
            continue
        text = shlex.quote(format_value(value))
        name = field.metadata["aliases"][0] if field.metadata["renamed"] else field.name
        flagged = field.name in FLAGGED.split()
        words.append(f"{options.flag(name)} {text}" if flagged else f"--set gan.{field.name}={text}")
    return " ".join(words)
