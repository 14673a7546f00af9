"""One trial of a recipe: a training with the settings that are tried, in a folder of its own.

A trial that has ended is not begun again.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, NamedTuple

from sonoforge.runtime.atomic import write_json
from sonoforge.runtime.seeds import derive_seed
from sonoforge.training.gan.options import GanSettings
from sonoforge.training.gan.setup import TrainingSetup
from sonoforge.training.trials.source import Opened, Source, open_source
from sonoforge.training.trials.training import ENDED, Limits, set_up_trial, train_trial
from sonoforge.training.tuning.parameters import Value
from sonoforge.training.tuning.pruning import Pruning
from sonoforge.training.tuning.space import with_values
from sonoforge.training.tuning.study import Asked, Ended

RECORD = "trial.json"


@dataclasses.dataclass(frozen=True)
class Rules:
    """How trials are measured and ended."""

    seed: int
    pruner: str  # of `pruning.PRUNERS`
    minutes: float | None = None  # that a trial may train


class TrialTask(NamedTuple):
    """One trial, for this process or another."""

    asked: Asked
    source: Source
    rules: Rules
    folder: Path  # of this trial
    run: Path  # the run folder


def trial_settings(opened: Opened, study: str, number: int, values: dict[str, Value]) -> GanSettings:
    """Return the settings that a trial trains with; its seed follows from the search's, the recipe and its number."""
    settings = opened.job.settings
    own = with_values(settings, opened.recipe, values)
    return dataclasses.replace(own, seed=derive_seed(settings.seed, f"trial of {study}", number, bits=32))


def set_up_with(opened: Opened, settings: GanSettings) -> TrainingSetup:
    """Make a training with these settings ready.

    Raises:
        SonoforgeError: Settings that do not go together, or too few images.
    """
    return set_up_trial(opened.images, dataclasses.replace(opened.job, settings=settings))


def run_trial(task: TrialTask) -> Ended:
    """Train what is asked, or go on with it, and keep how it ended as ``trial.json``."""
    asked, path = task.asked, task.folder / RECORD
    if path.is_file():
        return _read(path)
    opened = open_source(task.source, task.rules.seed)
    setup = set_up_with(opened, trial_settings(opened, asked.study, asked.number, asked.values))
    limits = Limits(Pruning(task.rules.pruner, asked.history).report, task.rules.minutes)
    result = train_trial(opened.images, setup, task.folder, limits, task.run)
    value = result.details["kid"] if result.state in ENDED else None
    details = result.details | {"values": asked.values}
    ended = Ended(asked.study, asked.number, result.state, value, result.reports, details)
    write_json(path, ended._asdict())
    return ended


def _read(path: Path) -> Ended:
    kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return Ended(**{**kept, "reports": tuple((number, value) for number, value in kept["reports"])})
