"""Run a search: ask what to try, train it and keep the outcome, in one file of a run folder.

Only one process writes ``study.db``, an SQLite file whose transactions survive a kill at any time; Optuna's own tools
can open it.  A trial's values depend on the seed, its number and the trials before it, not on earlier random numbers: a
killed and resumed search continues as it would have, and repeats no trial. Trials run side by side, and each is chosen
when a worker becomes free, by what is known then, which depends on timing. A study with a horizon chooses only by the
oldest trials, waiting for them if needed, so any number of workers leads to the same trials.
"""

import dataclasses
import statistics
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import optuna
from optuna.trial import FrozenTrial, TrialState

from sonoforge.runtime.errors import refusing
from sonoforge.training.workers import Workers

MEASUREMENTS = 4  # of the metric in a training run, at equal shares of its budget, the last at its end
LEAST = 4  # training runs behind a median

Reports = tuple[tuple[int, float], ...]  # the measurements of a training run so far: number, from 1, and the metric


def gives_up(past: Sequence[Reports], own: Reports) -> bool:
    """Whether to give up a training run after its last measurement, as Optuna's ``MedianPruner`` does.

    It gives up at a half and at three quarters of the budget if the lowest metric is above the median of the complete
    training runs ``past``.
    """
    number = own[-1][0]
    values = [value for reports in past for at, value in reports if at == number]
    if number < MEASUREMENTS // 2 or len(past) < LEAST or not values:
        return False
    return min(value for _, value in own) > statistics.median(values)


FILE = "study.db"
COMPLETE, PRUNED, DIVERGED = "complete", "pruned", "diverged"
_STATE, _VALUES, _DETAILS = "state", "values", "details"  # attributes of Optuna's trial

Value = str | int | float | None
Values = dict[str, Value]
Rank = tuple[float, float]  # the order of trials, the best lowest: by progress, then by the last metric
WORST: Rank = (1.0, float("inf"))  # of a training run that diverged


@dataclasses.dataclass(frozen=True)
class Trial:
    """One training of a study: its values, and its outcome so far."""

    study: str
    number: int  # from 0
    values: Values  # by name; empty: not chosen yet
    state: str = ""  # `COMPLETE`, `PRUNED` or `DIVERGED`; empty: not ended yet
    reports: Reports = ()
    # Figures at the last measurement, seconds of training, why it diverged: JSON.
    details: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def ended(self) -> bool:
        """Whether its training is over."""
        return bool(self.state)

    @property
    def complete(self) -> bool:
        """Whether it reached the end of its budget."""
        return self.state == COMPLETE

    @property
    def metric(self) -> float | None:
        """The metric at its last measurement."""
        return self.reports[-1][1] if self.reports else None

    @property
    def rank(self) -> Rank | None:
        """Its rank among others; None while unknown."""
        if not self.ended:
            return None
        if self.state == DIVERGED or not self.reports:
            return WORST
        number, value = self.reports[-1]
        return (float("-inf") if self.complete else -number, value)


def ranked(trials: Sequence[Trial]) -> list[Trial]:
    """Return the ended trials, best first; ties go to the earlier one."""
    ended = [(trial.rank, trial.number, trial) for trial in trials if trial.rank is not None]
    return [trial for _, _, trial in sorted(ended, key=lambda own: own[:2])]


def best_of(trials: Sequence[Trial]) -> Trial | None:
    """Return the best trial, or None before any was measured."""
    return next((trial for trial in ranked(trials) if trial.rank != WORST), None)


class History:
    """The trials of a study, as far as they are known."""

    name: str  # of the study
    trials: Sequence[Trial]  # by number, also those under way

    @property
    def ended(self) -> list[Trial]:
        """The finished trials, by number."""
        return [trial for trial in self.trials if trial.ended]

    @property
    def best(self) -> Trial | None:
        """See `best_of`."""
        return best_of(self.trials)


class Strategy(Protocol):
    """What a study searches, and how it chooses the next trial."""

    @property
    def name(self) -> str:
        """Of the study."""

    @property
    def total(self) -> int:
        """Trials in all."""

    def horizon(self, number: int) -> int | None:
        """Return how many of the oldest trials count in choosing one; None means all ended ones."""

    def suggest(self, trial: optuna.Trial, before: Sequence[Trial]) -> Values:
        """Choose the values of Optuna's trial; the same arguments give the same answer.

        ``before`` holds all earlier trials, those beyond the horizon as if still in progress.
        """

    def inheritable(self, trials: Sequence[Trial]) -> set[int]:
        """Return the numbers of trials that can pass on their weights to a later one."""


def open_storage(file: Path) -> optuna.storages.BaseStorage:
    """Open the file of studies, or create it.

    Raises:
        SonoforgeError: It cannot be read or written.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # no word on each study
    # of SQLAlchemy and Alembic, whose kinds are many
    with refusing(f"{file}: not a readable studies file", "leave out --resume to start again", kinds=Exception):
        return optuna.storages.RDBStorage(f"sqlite:///{file.absolute()}")


class Study(History):
    """One study of a file; one process at a time works with it."""

    def __init__(self, storage: optuna.storages.BaseStorage, strategy: Strategy) -> None:
        """Open the study, or create it."""
        self.name, self.strategy, self._storage = strategy.name, strategy, storage
        self.optuna = optuna.create_study(storage=storage, study_name=strategy.name, load_if_exists=True)
        self.trials: list[Trial] = [_read(self.name, trial) for trial in self.optuna.get_trials(deepcopy=False)]

    def wanted(self) -> Iterator[Trial | None]:
        """Yield the trials to do, each chosen when its turn comes: unfinished ones, then new ones.

        None means that the next cannot be chosen until another has ended.
        """
        for number in [trial.number for trial in self.trials if not trial.ended]:
            if not self.trials[number].values:  # a kill came before it was chosen
                self._choose(number)
            yield self.trials[number]
        while (number := len(self.trials)) < self.strategy.total:
            horizon = self.strategy.horizon(number)
            if horizon is not None and not all(trial.ended for trial in self.trials[:horizon]):
                yield None
                continue
            self.trials.append(Trial(self.name, self.optuna.ask().number, {}))
            self._choose(number)
            yield self.trials[number]

    def past(self, number: int) -> tuple[Reports, ...]:
        """Return the measurements of the complete trials within a trial's horizon."""
        known = self.trials[: self.strategy.horizon(number)]
        return tuple(trial.reports for trial in known if trial.complete and trial.number != number)

    def tell(self, ended: Trial) -> None:
        """Record how a trial ended."""
        trial = self._trial(ended.number)
        for number, value in ended.reports:
            trial.report(value, number)
        trial.set_user_attr(_DETAILS, ended.details)
        trial.set_user_attr(_STATE, ended.state)
        # A diverged one counts as the worst: as a failure it would not count at all.
        state = TrialState.COMPLETE if ended.complete else TrialState.PRUNED
        self.optuna.tell(ended.number, ended.metric if ended.complete else None, state)
        self.trials[ended.number] = ended

    def _choose(self, number: int) -> None:
        horizon = self.strategy.horizon(number)
        before = [
            trial if horizon is None or trial.number < horizon else dataclasses.replace(trial, state="", reports=())
            for trial in self.trials[:number]
        ]
        trial = self._trial(number)
        values = self.strategy.suggest(trial, before)
        trial.set_user_attr(_VALUES, values)
        self.trials[number] = Trial(self.name, number, values)

    def _trial(self, number: int) -> optuna.Trial:
        """Return a trial of this study that was started, perhaps by an earlier process."""
        study = self._storage.get_study_id_from_name(self.name)
        return optuna.Trial(self.optuna, self._storage.get_trial_id_from_study_id_trial_number(study, number))


def _read(study: str, kept: FrozenTrial) -> Trial:
    about = kept.user_attrs
    if not kept.state.is_finished():
        return Trial(study, kept.number, about.get(_VALUES, {}))
    reports = tuple(sorted(kept.intermediate_values.items()))
    return Trial(study, kept.number, about[_VALUES], about[_STATE], reports, about[_DETAILS])


def search(
    studies: Sequence[Study],
    workers: Workers,
    run: Callable[[Any], Trial],
    task: Callable[[Trial], Any],
) -> Iterator[Trial]:
    """Do all missing trials, one study after the other, and yield each once it is recorded.

    ``run`` is a module-level function that takes a task, which ``task`` makes from a trial.
    """
    by_name = {study.name: study for study in studies}
    tasks = (None if trial is None else task(trial) for study in studies for trial in study.wanted())
    for ended in workers.run(run, tasks):
        by_name[ended.study].tell(ended)
        yield ended
