"""What both searches of ``gan search`` share: images, networks, trials, table and page."""

import contextlib
import dataclasses
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import optuna

from sonoforge.runtime.atomic import remove_folder
from sonoforge.runtime.cli.answer import say, tell
from sonoforge.runtime.cli.options import Outcome, flatten
from sonoforge.runtime.cli.progress import Advance, progress_bar
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training import run_folder
from sonoforge.training.architecture_search.results import Searched, table_columns, trial_row
from sonoforge.training.architecture_search.study import Study, Trial, search
from sonoforge.training.architecture_search.trial import (
    METRICS,
    Opened,
    Rules,
    Source,
    TrialTask,
    keep_sources,
    measure_apart,
    open_source,
    prepare_trial,
    run_trial,
    trial_folder,
    with_space,
)
from sonoforge.training.devices import find_device
from sonoforge.training.gan.options import GanSettings
from sonoforge.training.reports import search as page
from sonoforge.training.reports.search import log_search, trial_line
from sonoforge.training.verbs.gan_train import device_name
from sonoforge.training.verbs.settings.gan import GanSearchConfig
from sonoforge.training.workers import Workers, WorkerSettings, open_workers

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, eq=False)
class Planned:
    """A study, and how its trials are trained."""

    study: Study
    source: Source
    opened: Opened
    rules: Rules
    settings: Callable[[Trial], GanSettings]  # of a trial

    def searched(self) -> Searched:
        """Return what it has found so far."""
        return Searched(self.study.name, self.study.trials, self.study.strategy.total, self.rules.metric)


def open_images(
    config: GanSearchConfig, settings: GanSettings, *, against_training: bool = False
) -> tuple[Source, Opened]:
    """Open the images and networks of a study; ``against_training`` allows for none that are held out.

    Raises:
        SonoforgeError: Nothing is held out; or see `source.open_source`.
    """
    if len(config.pruner or ()) > 1 and "none" in (config.pruner or ()):
        raise SonoforgeError("pruner: none cannot be combined with others")
    if not settings.held_out and not against_training:
        raise SonoforgeError(
            "held_out: found 0, expected a share above 0: chosen on its own training images, the best would be what "
            "copies them best"
        )
    settings = dataclasses.replace(settings, metrics=METRICS)
    apart = config.second_held_out or 0.0
    device = "auto" if config.cluster else config.device  # a cluster's GPUs need not be here
    source = with_space(Source(config.data, config.storage.open(), settings, device, apart, config.groups_from))
    opened = open_source(source, settings.seed)
    return dataclasses.replace(source, fingerprint=opened.images.fingerprint), opened


def about_search(about: page.About, config: GanSearchConfig, opened: Opened, length: str = "") -> page.About:
    """Complete what the verb says of a search by its images and budget.

    ``length`` is that of a trial in words; empty for the thousands of images it is shown.

    Raises:
        SonoforgeError: What cannot be trained.
    """
    training, images, class_name = prepare_trial(opened, opened.settings), opened.images, opened.settings.class_name
    shown = length or f"{training.plan.steps * training.images_per_step / 1000:.3g} thousand images shown"
    limit = f" or {config.trial_minutes:g} minutes" if config.trial_minutes else ""
    size = f"{training.plan.image_size} x {training.plan.image_size} pixels"
    return dataclasses.replace(
        about,
        name=f"{images.name}, {class_name}" if class_name else images.name,
        held_out=len(training.held_out) if training.held_out else 0,
        apart=len(opened.apart) if opened.apart else 0,
        trained=len(training.images),
        features=opened.pretrained.space.name if opened.pretrained.space else "",
        budget=f"each trial for {shown}{limit}, {size}",
    )


@contextlib.contextmanager
def open_folder(verb: str, config: GanSearchConfig, opened: Opened) -> Iterator[Path]:
    """Open the run folder, new or continued, and work in it."""
    settings = opened.settings
    name = run_folder.slug(verb, opened.images.name, settings.class_name)
    folder = run_folder.open_run(Path(config.out), name, flatten(config), resume=config.resume)
    with run_folder.working_in(folder):
        keep_sources(folder, opened)
        here = device_name(find_device(opened.device))
        environment = run_folder.describe_environment(here, settings.seed, opened.images.fingerprint)
        environment["versions"]["optuna"] = optuna.__version__  # what is tried depends on it
        run_folder.write_environment(folder, environment)
        yield folder


@dataclasses.dataclass(eq=False)
class Trials:
    """The trials of all studies of a run, table and page."""

    folder: Path
    about: page.About
    workers: Workers
    advance: Advance
    done: int
    finished: list[Searched] = dataclasses.field(default_factory=list)  # studies that are over

    def carry_out(self, planned: Sequence[Planned]) -> None:
        """Do the trials of these studies that are missing; write table and page anew after each."""
        by_name = {own.study.name: own for own in planned}
        for own in planned:
            self._remove_checkpoints(own.study)  # a kill may have come before

        def task(trial: Trial) -> TrialTask:
            own, heir_of = by_name[trial.study], trial.values.get("heir_of")
            return TrialTask(
                trial=trial,
                past=own.study.past(trial.number),
                settings=own.settings(trial),
                source=dataclasses.replace(own.source, device=self.workers.device),
                rules=own.rules,
                folder=trial_folder(self.folder, trial.study, trial.number),
                weights=trial_folder(self.folder, trial.study, heir_of) if isinstance(heir_of, int) else None,
                run=self.folder,
            )

        for ended in search([own.study for own in planned], self.workers, run_trial, task):
            own = by_name[ended.study]
            self._remove_checkpoints(own.study)
            so_far = [*self.finished, *(one.searched() for one in planned if one.study.trials)]
            write_table(self.folder, so_far)
            self.write_page(so_far)
            self.done += 1
            words = trial_line(own.searched(), ended)
            log.info("%d trials: %s", self.done, words)
            self.advance(self.done, words)

    def write_page(self, so_far: Sequence[Searched]) -> None:
        """Write the page of a search that is under way."""
        page.write_report(self.folder, so_far, self.about, finished=False)

    def _remove_checkpoints(self, study: Study) -> None:
        """Remove the checkpoints but those of the best and of whom later trials may inherit from."""
        kept = study.strategy.inheritable(study.trials) | ({study.best.number} if study.best else set())
        for trial in study.ended:
            checkpoints = trial_folder(self.folder, study.name, trial.number) / "checkpoints"
            if trial.number not in kept and checkpoints.is_dir():
                remove_folder(checkpoints)


@contextlib.contextmanager
def open_trials(folder: Path, config: GanSearchConfig, about: page.About, studies: Sequence[Study]) -> Iterator[Trials]:
    """Open the workers for the trials of all these studies that are missing, and show how far they are."""
    total = sum(study.strategy.total for study in studies)
    done = sum(len(study.ended) for study in studies)
    with (
        open_workers(WorkerSettings(config.device, config.jobs, config.cluster), folder, total - done) as workers,
        progress_bar("trials", total, done) as advance,
    ):
        yield Trials(folder, about, workers, advance, done)


def measured_anew(folder: Path, own: Planned) -> Searched:
    """Return what a finished study has found, its best measured against the images that chose nothing."""
    found, best = own.searched(), own.study.best
    if best is None:
        return found
    return dataclasses.replace(found, apart=measure_apart(trial_folder(folder, best.study, best.number), own.opened))


def write_table(folder: Path, searched: Sequence[Searched]) -> None:
    """Write all trials that have ended."""
    rows = [trial_row(trial) for own in searched for trial in own.ended]
    run_folder.write_table(folder / page.TABLE, table_columns(searched), rows)


def conclude(folder: Path, searched: Sequence[Searched], about: page.About, command: str = "") -> Outcome:
    """Write page, table and results of a finished search, and print its table.

    ``command`` trains what all studies found together; empty where each has its own.
    """
    write_table(folder, searched)
    page.write_report(folder, searched, about, command)
    log_search(searched)
    metric = about.metric.upper()
    tell(f"the lowest {metric} is the best of many trials on the images it is shown for, so optimistic")
    say("page: %s", folder / page.REPORT)
    say("all trials: %s", folder / page.TABLE)
    results = {own.name: own.summary() for own in searched}
    run_folder.write_results(folder, {"studies": results})
    commands = [(own.best.metric or 0.0, own.command) for own in searched if own.best and own.command]
    following = command or min(commands, default=(0.0, f"sonoforge {about.verb} --help"))[1]
    paths = {"run": str(folder), "report": str(folder / page.REPORT), "table": str(folder / page.TABLE)}
    return Outcome({**paths, "studies": results}, following)
