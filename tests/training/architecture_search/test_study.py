"""Studies of objectives whose optimum is known: found more often than by chance, kept, resumed, and pruned alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.storages import BaseStorage, InMemoryStorage

from closed_forms import SPACE, Asked, bowl, falling_bowl, height
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.architecture_search.strategies import SettingsSearch
from sonoforge.training.architecture_search.study import (
    COMPLETE,
    DIVERGED,
    FILE,
    MEASUREMENTS,
    PRUNED,
    WORST,
    Reports,
    Study,
    Trial,
    best_of,
    gives_up,
    open_storage,
    ranked,
    search,
)
from sonoforge.training.workers import ThisProcess, WorkerSettings, open_workers


def study_of(storage: BaseStorage, trials: int, seed: int) -> Study:
    return Study(storage, SettingsSearch("bowl", SPACE, trials, seed))


def run(study: Study, objective: Callable[[Asked], Trial] = bowl) -> list[Trial]:
    list(search([study], ThisProcess("cpu"), objective, lambda trial: (trial, study.past(trial.number))))
    return study.trials


def in_memory(trials: int, seed: int, objective: Callable[[Asked], Trial] = bowl) -> list[Trial]:
    return run(study_of(InMemoryStorage(), trials, seed), objective)


def lowest(trials: list[Trial]) -> float:
    return min(trial.metric for trial in trials if trial.metric is not None)


def test_the_optimum_is_found_more_often_than_by_random_search() -> None:
    """40 trials each, ten seeds; a value below 0.1 has one random trial in some 180."""
    assert sum(lowest(in_memory(40, seed)) < 0.1 for seed in range(10)) >= 6


def test_a_study_depends_on_its_seed_alone() -> None:
    first, again, other = (in_memory(12, seed) for seed in (3, 3, 4))
    assert first == again
    assert first != other


@pytest.mark.slow
def test_two_processes_do_as_many_trials_each_once(tmp_path: Path) -> None:
    study = study_of(open_storage(tmp_path / FILE), 12, 0)
    with open_workers(WorkerSettings("cpu", 2), tmp_path, 12) as workers:
        tasks = search([study], workers, falling_bowl, lambda trial: (trial, study.past(trial.number)))
        done = [ended.number for ended in tasks]
    assert sorted(done) == [trial.number for trial in study.trials] == list(range(12))
    for trial in study.trials:
        assert dict(trial.reports)[1] == height(trial.values) + 1, "each was told its own measurements"
    assert study_of(open_storage(tmp_path / FILE), 12, 0).trials == study.trials, "read as they were kept"


def test_a_trial_that_was_begun_and_not_chosen_is_chosen_after_a_kill() -> None:
    storage = InMemoryStorage()
    study = study_of(storage, 3, 0)
    study.optuna.ask()
    assert run(study_of(storage, 3, 0)) == in_memory(3, 0)


def test_a_trial_that_diverges_counts_and_is_not_the_best() -> None:
    def diverges(asked: Asked) -> Trial:
        trial = asked[0]
        return bowl(asked) if trial.number % 3 else Trial(trial.study, trial.number, trial.values, DIVERGED)

    study = study_of(InMemoryStorage(), 9, 0)
    assert [trial.state for trial in run(study, diverges)] == [DIVERGED, COMPLETE, COMPLETE] * 3
    assert study.best is not None and study.best.state == COMPLETE


def test_a_file_that_is_no_study_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"no database" * 100)
    with pytest.raises(SonoforgeError, match=r"study.db: .*leave out --resume") as error:
        open_storage(tmp_path / FILE)
    assert "\n" not in str(error.value)


def trial(number: int, state: str, kid: float | None, measurements: int = 4) -> Trial:
    reports = () if kid is None else ((measurements, kid),)
    return Trial("generator", number, {}, state, reports, {"kid": kid})


def test_those_that_came_further_come_first_and_then_the_lowest() -> None:
    trials = [
        trial(0, COMPLETE, 3.0),
        trial(1, PRUNED, 0.1, measurements=1),
        trial(2, COMPLETE, 2.0),
        trial(3, DIVERGED, None),
        trial(4, PRUNED, 0.5, measurements=2),
        trial(5, "", None),
        trial(6, COMPLETE, 2.0, measurements=3),
    ]
    assert [own.number for own in ranked(trials)] == [2, 6, 0, 4, 1, 3]
    assert trials[3].rank == WORST and trials[5].rank is None
    assert best_of(trials) is trials[2] and best_of([trials[3], trials[5]]) is None


@pytest.mark.parametrize("seed", range(5))
def test_the_median_decides_as_optunas_own_pruner(seed: int) -> None:
    """Forty trainings that fall at random, judged by both, measurement by measurement."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=2))
    rng, past, given_up = np.random.default_rng(seed), list[Reports](), 0
    for _ in range(40):
        values = rng.uniform(0, 1) + rng.normal(0, 0.1, MEASUREMENTS) + 1 / np.arange(1, MEASUREMENTS + 1)
        trial, reports, over = study.ask(), (), False
        for number, value in enumerate(values.tolist(), start=1):
            trial.report(value, number)
            reports: Reports = (*reports, (number, value))
            over = trial.should_prune()
            assert gives_up(past, reports) == over
            if over:
                break
        study.tell(trial, None if over else reports[-1][1], state=optuna.trial.TrialState(2 if over else 1))
        past += [] if over else [reports]
        given_up += over
    assert 4 <= given_up <= 36
