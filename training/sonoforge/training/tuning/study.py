"""Studies kept in a run folder, and the loop that asks for trials, has them done and tells how they ended.

One process alone writes ``study.db``, an SQLite file whose transactions survive a kill at any time; Optuna's own tools
can open it.  What a trial is asked to try depends on the seed, its number and the trials before it, and not on random
numbers drawn earlier: a study that is resumed goes on as if it had not been interrupted.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import optuna
from optuna.trial import FrozenTrial, TrialState

from sonoforge.runtime.errors import SonoforgeError, reason
from sonoforge.runtime.seeds import derive_seed
from sonoforge.training.tasks.workers import Reads, Workers, reads_nothing
from sonoforge.training.tuning.parameters import Parameter, Value
from sonoforge.training.tuning.pruning import Past
from sonoforge.training.tuning.space import rounded

FILE = "study.db"
SAMPLERS = ("tpe", "random")
STARTUP = (4, 10)  # trials at least and at most that are drawn at random before TPE has enough to go by
LEAST_COMPLETE = 10  # trials; the forest of fANOVA fits noise to fewer
OPTIMISER = "optimiser"


class Asked(NamedTuple):
    """What a trial is to try."""

    study: str
    number: int  # from 0
    values: dict[str, Value]  # by name of the parameter
    history: tuple[Past, ...]  # the trials of the study that had ended before


class Ended(NamedTuple):
    """How a trial ended."""

    study: str
    number: int
    state: str  # see `trials.training.Result`
    value: float | None  # the objective, to be lowest; None where there is none
    reports: tuple[tuple[int, float], ...] = ()  # measurements by their number, from 1
    details: dict[str, Any] = {}  # noqa: RUF012 - whatever else is known of it, as JSON has it


@dataclasses.dataclass(frozen=True)
class Plan:
    """How a study is searched."""

    trials: int
    sampler: str  # of `SAMPLERS`
    seed: int


def open_storage(file: Path) -> optuna.storages.BaseStorage:
    """Open the file that studies are kept in, or begin it.

    Raises:
        SonoforgeError: It cannot be read or written.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # no word on each study
    try:
        return optuna.storages.RDBStorage(f"sqlite:///{file.absolute()}")
    except Exception as error:  # of SQLAlchemy and Alembic, whose kinds are many
        raise SonoforgeError(
            f"{file}: found no file of studies that can be opened ({reason(error)}); leave out --resume to start again"
        ) from error


class Study:
    """One study of a file; one process at a time works with it."""

    def __init__(self, storage: optuna.storages.BaseStorage, name: str, space: Sequence[Parameter], plan: Plan) -> None:
        """Open the study, or begin it."""
        self.name, self._space, self._plan, self._storage = name, tuple(space), plan, storage
        self._study = optuna.create_study(storage=storage, study_name=name, load_if_exists=True)

    @property
    def trials(self) -> list[FrozenTrial]:
        """All trials so far, by number."""
        return self._study.get_trials(deepcopy=False)

    @property
    def ended(self) -> list[FrozenTrial]:
        """Those that are done."""
        return [trial for trial in self.trials if trial.state.is_finished()]

    def wanted(self) -> Iterator[Asked]:
        """Yield what is still to be done: trials that were under way, then new ones, each asked for when its turn is.

        Trials that are under way at that moment count as bad ones, so that those beside them are elsewhere.
        """
        for trial in self.trials:
            if not trial.state.is_finished():
                yield self._asked(self._trial(trial.number))
        while len(self.trials) < self._plan.trials:
            self._seed_sampler(len(self.trials))
            yield self._asked(self._study.ask())

    def tell(self, ended: Ended) -> None:
        """Keep how a trial ended."""
        trial = self._trial(ended.number)
        for number, value in ended.reports:
            trial.report(value, number)
        trial.set_user_attr("state", ended.state)
        for name, detail in ended.details.items():
            trial.set_user_attr(name, detail)
        # One that diverged counts as the worst, too: as a failure it would not count at all.
        state = TrialState.COMPLETE if ended.value is not None else TrialState.PRUNED
        self._study.tell(ended.number, ended.value, state)

    def importances(self) -> dict[str, float]:
        """Return the share of each parameter in the variance of the objective, the largest first.

        By fANOVA (Hutter, Hoos, Leyton-Brown, "An Efficient Approach for Assessing Hyperparameter Importance", ICML
        2014), over complete trials and the parameters that all trials have.

        Raises:
            SonoforgeError: Fewer than `LEAST_COMPLETE` complete trials.
        """
        complete = sum(trial.state == TrialState.COMPLETE for trial in self.trials)
        if complete < LEAST_COMPLETE:
            raise SonoforgeError(
                f"importances of {self.name}: found {complete} complete trials, expected at least {LEAST_COMPLETE}; "
                "give more --trials, or --pruner none"
            )
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=self._plan.seed % 2**32)
        found = optuna.importance.get_param_importances(self._study, evaluator=evaluator)
        return {name: float(share) for name, share in found.items()}

    def _trial(self, number: int) -> optuna.Trial:
        """Return a trial of this study that was begun, perhaps by a process that was killed since."""
        self._seed_sampler(number)
        study = self._storage.get_study_id_from_name(self.name)
        return optuna.Trial(self._study, self._storage.get_trial_id_from_study_id_trial_number(study, number))

    def _seed_sampler(self, number: int) -> None:
        plan = self._plan
        seed = derive_seed(plan.seed, f"sampler of {self.name}", number, bits=32)
        if plan.sampler == "random":
            self._study.sampler = optuna.samplers.RandomSampler(seed)
        else:
            least, most = STARTUP
            startup = min(most, max(least, plan.trials // 4))
            self._study.sampler = optuna.samplers.TPESampler(n_startup_trials=startup, seed=seed, constant_liar=True)

    def _asked(self, trial: optuna.Trial) -> Asked:
        values: dict[str, Value] = {}
        for parameter in self._space:
            if parameter.optimiser and values.get(OPTIMISER, parameter.optimiser) != parameter.optimiser:
                continue
            values[parameter.name] = rounded(_suggest(trial, parameter))
        history = tuple(_past(other) for other in self.ended)
        return Asked(self.name, trial.number, values, history)


def _suggest(trial: optuna.Trial, parameter: Parameter) -> Value:
    """Return what the sampler suggests, or what it suggested before."""
    name = parameter.name
    if parameter.choices:
        return cast(Value, trial.suggest_categorical(name, parameter.choices))
    if parameter.whole:
        return trial.suggest_int(name, int(parameter.low), int(parameter.high), log=parameter.log)
    return trial.suggest_float(name, parameter.low, parameter.high, log=parameter.log)


def _past(trial: FrozenTrial) -> Past:
    complete = trial.state == TrialState.COMPLETE
    return Past(complete, trial.value if complete else None, tuple(sorted(trial.intermediate_values.items())))


def search(
    studies: Sequence[Study],
    workers: Workers,
    objective: Callable[[Any], Ended],
    task: Callable[[Asked], Any] = lambda asked: asked,
    reads: Reads = reads_nothing,
) -> Iterator[Ended]:
    """Do all trials that are missing, and yield how each ended, once that is kept.

    Args:
        studies: One after the other, as workers become free.
        workers: Who does the trials.
        objective: A module-level function of a task.
        task: Makes a task of what is asked.
        reads: See `Workers.run`.
    """
    by_name = {study.name: study for study in studies}
    tasks = (task(asked) for study in studies for asked in study.wanted())
    for ended in workers.run(objective, tasks, reads):
        by_name[ended.study].tell(ended)
        yield ended
