"""The best trial of each recipe: its checkpoint alone is kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from optuna.trial import FrozenTrial, TrialState

from sonoforge.runtime.atomic import remove_folder
from sonoforge.training.tuning.study import Study


def trial_folder(run: Path, study: str, number: int) -> Path:
    """Return where a trial is kept in the run folder."""
    return run / study / f"trial-{number:04d}"


def best_trial(trials: Sequence[FrozenTrial]) -> FrozenTrial | None:
    """Return the complete trial of the lowest value, the earlier one of two equal ones; None where there is none."""
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE and trial.value is not None]
    return min(complete, key=lambda trial: trial.value or 0.0, default=None)


def keep_best_checkpoint(run: Path, study: Study) -> None:
    """Remove the checkpoints of all trials that have ended but the best: each is as large as its networks."""
    ended = study.ended
    best = best_trial(ended)
    for trial in ended:
        checkpoints = trial_folder(run, study.name, trial.number) / "checkpoints"
        if trial is not best and checkpoints.is_dir():
            remove_folder(checkpoints)
