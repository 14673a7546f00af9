"""Trials that are given up early, by Optuna's own pruners.

A trial knows what the trials that ended before it began had reported; so the decision needs no shared file, and a
study of one worker is repeated exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import optuna
from optuna.trial import TrialState

PRUNERS: dict[str, Callable[[], optuna.pruners.BasePruner]] = {
    "none": optuna.pruners.NopPruner,
    # Of the first trials, some have to end before there is a median; nothing is known after one measurement.
    "median": lambda: optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=2),
    # Li et al., "A System for Massively Parallel Hyperparameter Tuning", MLSys 2020: here the better half goes on
    # after the first, the second and the fourth measurement.
    "halving": lambda: optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=2),
}


class Past(NamedTuple):
    """What an ended trial reported."""

    complete: bool  # else it was pruned
    value: float | None  # its objective, of a complete one
    reports: tuple[tuple[int, float], ...]  # measurements by their number, from 1


class Pruning:
    """Judges one trial, measurement by measurement."""

    def __init__(self, name: str, history: Sequence[Past]) -> None:
        """Let the pruner see the ended trials in their order."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)  # no word on each study
        study = optuna.create_study(storage=optuna.storages.InMemoryStorage(), pruner=PRUNERS[name]())
        for past in history:
            trial = study.ask()
            for number, value in past.reports:
                trial.report(value, number)
                trial.should_prune()  # by this, successive halving notes how far the trial came
            study.tell(trial, past.value, TrialState.COMPLETE if past.complete else TrialState.PRUNED)
        self._trial = study.ask()

    def report(self, number: int, value: float) -> bool:
        """Note a measurement, and return whether the trial is to be given up."""
        self._trial.report(value, number)
        return self._trial.should_prune()
