"""Studies of objectives whose optimum is known: found more often than by chance, kept, resumed, and pruned alike."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.trial import FrozenTrial, TrialState

from closed_forms import SPACE, bowl, falling_bowl
from processes import CLEAN
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.tasks.opening import ThisProcess, open_workers
from sonoforge.training.tasks.workers import WorkerSettings
from sonoforge.training.tuning.study import FILE, Asked, Ended, Plan, Study, open_storage, search


def run(
    storage: BaseStorage,
    plan: Plan,
    objective: Callable[[Asked], Ended] = bowl,
) -> list[FrozenTrial]:
    study = Study(storage, "bowl", SPACE, plan)
    list(search([study], ThisProcess("cpu"), objective))
    return study.trials


def tried(trials: list[FrozenTrial]) -> list[Any]:
    return [(trial.number, trial.state, trial.params, trial.value, trial.intermediate_values) for trial in trials]


def lowest(trials: list[FrozenTrial]) -> float:
    return min(trial.value for trial in trials if trial.value is not None)


def test_the_optimum_is_found_more_often_than_by_random_search() -> None:
    """40 trials each, ten seeds; a value below 0.1 has one random trial in some 180."""
    found = {
        sampler: sum(lowest(run(InMemoryStorage(), Plan(40, sampler, seed))) < 0.1 for seed in range(10))
        for sampler in ("tpe", "random")
    }
    assert found["tpe"] >= 6 and found["random"] <= 4, found


def test_a_study_depends_on_its_seed_alone() -> None:
    first, again, other = (tried(run(InMemoryStorage(), Plan(12, "tpe", seed))) for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_two_processes_do_as_many_trials_each_once(tmp_path: Path) -> None:
    study = Study(open_storage(tmp_path / FILE), "bowl", SPACE, Plan(12, "tpe", 0))
    with open_workers(WorkerSettings("cpu", 2), tmp_path, 12) as workers:
        done = [ended.number for ended in search([study], workers, falling_bowl)]
    assert sorted(done) == [trial.number for trial in study.trials] == list(range(12))
    for trial in study.trials:
        values = trial.user_attrs["values"]
        own = bowl(Asked("bowl", trial.number, values, ())).value
        assert own is not None and trial.intermediate_values[1] == own + 1, "each was told its own measurements"


def _killed(asked: Asked) -> Ended:
    if asked.number == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    return falling_bowl(asked)


def _run_until_killed(file: Path) -> None:
    run(open_storage(file), Plan(12, "tpe", 0), _killed)


def test_a_study_that_was_killed_ends_as_an_uninterrupted_one(tmp_path: Path) -> None:
    process = CLEAN.Process(target=_run_until_killed, args=(tmp_path / FILE,), daemon=True)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    before = Study(open_storage(tmp_path / FILE), "bowl", SPACE, Plan(12, "tpe", 0)).trials
    assert [trial.state.is_finished() for trial in before] == [True] * 7 + [False], "one was under way"
    done: list[int] = []

    def noted(asked: Asked) -> Ended:
        done.append(asked.number)
        return falling_bowl(asked)

    resumed = run(open_storage(tmp_path / FILE), Plan(12, "tpe", 0), noted)
    assert done == [7, 8, 9, 10, 11]
    assert tried(resumed) == tried(run(InMemoryStorage(), Plan(12, "tpe", 0), falling_bowl))


def test_trials_are_pruned_as_by_optunas_own_loop() -> None:
    """The same suggestions, measured in a study that Optuna runs itself."""
    ours = run(InMemoryStorage(), Plan(20, "random", 1), falling_bowl)
    study = optuna.create_study(pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=2))
    for trial in ours:
        study.enqueue_trial(trial.params)

    def objective(trial: optuna.Trial) -> float:
        values: dict[str, Any] = {
            "optimiser": trial.suggest_categorical("optimiser", ["adam", "rmsprop"]),
            "learning-rate": float(f"{trial.suggest_float('learning-rate', 1e-5, 1e-1, log=True):.3g}"),
            "batch": trial.suggest_categorical("batch", [8, 16, 32, 64]),
        }
        if values["optimiser"] == "adam":
            values["beta1"] = float(f"{trial.suggest_float('beta1', 0, 0.9):.3g}")
        value = bowl(Asked("", 0, values, ())).value
        assert value is not None
        for number in range(1, 5):
            trial.report(value + 1 / number, number)
            if trial.should_prune():
                raise optuna.TrialPruned
        return value

    study.optimize(objective, n_trials=20)
    expected = [trial.state == TrialState.PRUNED for trial in study.trials]
    assert [trial.state == TrialState.PRUNED for trial in ours] == expected
    assert 3 <= sum(expected) <= 12


def test_a_trial_that_diverges_counts_and_is_not_the_best() -> None:
    def diverges(asked: Asked) -> Ended:
        return bowl(asked) if asked.number % 3 else Ended("bowl", asked.number, "diverged", None, (), {"why": "NaN"})

    trials = run(InMemoryStorage(), Plan(9, "tpe", 0), diverges)
    assert [trial.user_attrs["state"] for trial in trials] == ["diverged", "complete", "complete"] * 3
    assert len(trials) == 9


def test_a_file_that_is_no_study_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"no database" * 100)
    with pytest.raises(
        SonoforgeError, match=r"study.db: found no file of studies that can be opened .*leave --resume"
    ) as error:
        open_storage(tmp_path / FILE)
    assert "\n" not in str(error.value)


def test_the_parameter_that_matters_has_the_largest_importance() -> None:
    def steep(asked: Asked) -> Ended:
        value = 10 * abs(math.log2(float(asked.values["batch"])) - 4) + float(asked.values["learning-rate"])
        return Ended("bowl", asked.number, "complete", value)

    storage = InMemoryStorage()
    run(storage, Plan(20, "random", 0), steep)
    importances = Study(storage, "bowl", SPACE, Plan(20, "random", 0)).importances()
    assert next(iter(importances)) == "batch" and importances["batch"] > 0.95
    assert "beta1" not in importances, "half of the trials have none"
    assert sum(importances.values()) == pytest.approx(1)


def test_importances_of_few_trials_are_refused() -> None:
    storage = InMemoryStorage()
    run(storage, Plan(9, "random", 0))
    with pytest.raises(SonoforgeError, match="found 9 complete trials, expected at least 10; give more --trials"):
        Study(storage, "bowl", SPACE, Plan(9, "random", 0)).importances()
