"""Studies of objectives whose optimum is known: found more often than by chance, kept, resumed, and pruned alike."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from optuna.storages import BaseStorage, InMemoryStorage

from closed_forms import SPACE, Asked, bowl, falling_bowl, height
from processes import CLEAN
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.architecture_search.settings import SettingsSearch
from sonoforge.training.architecture_search.study import COMPLETE, DIVERGED, FILE, Study, Trial, open_storage, search
from sonoforge.training.workers import ThisProcess, WorkerSettings, open_workers


def study_of(storage: BaseStorage, trials: int, sampler: str, seed: int) -> Study:
    return Study(storage, SettingsSearch("bowl", SPACE, trials, sampler, seed))


def run(study: Study, objective: Callable[[Asked], Trial] = bowl) -> list[Trial]:
    list(search([study], ThisProcess("cpu"), objective, lambda trial: (trial, study.past(trial.number))))
    return study.trials


def in_memory(trials: int, sampler: str, seed: int, objective: Callable[[Asked], Trial] = bowl) -> list[Trial]:
    return run(study_of(InMemoryStorage(), trials, sampler, seed), objective)


def lowest(trials: list[Trial]) -> float:
    return min(trial.metric for trial in trials if trial.metric is not None)


def test_the_optimum_is_found_more_often_than_by_random_search() -> None:
    """40 trials each, ten seeds; a value below 0.1 has one random trial in some 180."""
    found = {
        sampler: sum(lowest(in_memory(40, sampler, seed)) < 0.1 for seed in range(10)) for sampler in ("tpe", "random")
    }
    assert found["tpe"] >= 6 and found["random"] <= 4, found


def test_a_study_depends_on_its_seed_alone() -> None:
    first, again, other = (in_memory(12, "tpe", seed) for seed in (3, 3, 4))
    assert first == again
    assert first != other


@pytest.mark.slow
def test_two_processes_do_as_many_trials_each_once(tmp_path: Path) -> None:
    study = study_of(open_storage(tmp_path / FILE), 12, "tpe", 0)
    with open_workers(WorkerSettings("cpu", 2), tmp_path, 12) as workers:
        tasks = search([study], workers, falling_bowl, lambda trial: (trial, study.past(trial.number)))
        done = [ended.number for ended in tasks]
    assert sorted(done) == [trial.number for trial in study.trials] == list(range(12))
    for trial in study.trials:
        assert dict(trial.reports)[1] == height(trial.values) + 1, "each was told its own measurements"
    assert study_of(open_storage(tmp_path / FILE), 12, "tpe", 0).trials == study.trials, "read as they were kept"


def _killed(asked: Asked) -> Trial:
    if asked[0].number == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    return falling_bowl(asked)


def _run_until_killed(file: Path) -> None:
    run(study_of(open_storage(file), 12, "tpe", 0), _killed)


@pytest.mark.slow
def test_a_study_that_was_killed_ends_as_an_uninterrupted_one(tmp_path: Path) -> None:
    process = CLEAN.Process(target=_run_until_killed, args=(tmp_path / FILE,), daemon=True)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    study = study_of(open_storage(tmp_path / FILE), 12, "tpe", 0)
    assert [trial.ended for trial in study.trials] == [True] * 7 + [False], "one was under way"
    done: list[int] = []

    def noted(asked: Asked) -> Trial:
        done.append(asked[0].number)
        return falling_bowl(asked)

    resumed = run(study, noted)
    assert done == [7, 8, 9, 10, 11]
    assert resumed == in_memory(12, "tpe", 0, falling_bowl)


def test_a_trial_that_was_begun_and_not_chosen_is_chosen_after_a_kill() -> None:
    storage = InMemoryStorage()
    study = study_of(storage, 3, "random", 0)
    study.optuna.ask()
    assert run(study_of(storage, 3, "random", 0)) == in_memory(3, "random", 0)


def test_a_trial_that_diverges_counts_and_is_not_the_best() -> None:
    def diverges(asked: Asked) -> Trial:
        trial = asked[0]
        return bowl(asked) if trial.number % 3 else Trial(trial.study, trial.number, trial.values, DIVERGED)

    study = study_of(InMemoryStorage(), 9, "tpe", 0)
    assert [trial.state for trial in run(study, diverges)] == [DIVERGED, COMPLETE, COMPLETE] * 3
    assert study.best is not None and study.best.state == COMPLETE


def test_a_file_that_is_no_study_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"no database" * 100)
    with pytest.raises(SonoforgeError, match=r"study.db: .*leave out --resume") as error:
        open_storage(tmp_path / FILE)
    assert "\n" not in str(error.value)


def test_the_parameter_that_matters_has_the_largest_importance() -> None:
    def steep(asked: Asked) -> Trial:
        values = asked[0].values
        value = 10 * abs(math.log2(float(values["batch"] or 0)) - 4) + float(values["learning-rate"] or 0)
        return Trial("bowl", asked[0].number, values, COMPLETE, ((4, value),))

    study = study_of(InMemoryStorage(), 20, "random", 0)
    run(study, steep)
    importances = study.importances(0)
    assert next(iter(importances)) == "batch" and importances["batch"] > 0.95
    assert "beta1" not in importances, "half of the trials have none"
    assert sum(importances.values()) == pytest.approx(1)


def test_importances_of_few_trials_are_refused() -> None:
    study = study_of(InMemoryStorage(), 9, "random", 0)
    run(study)
    with pytest.raises(SonoforgeError, match="found 9 complete trials"):
        study.importances(0)
