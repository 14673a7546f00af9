"""Train one trial, measuring it at equal shares of its budget and perhaps ending it early.

A trial continues from its last checkpoint if its process was killed; an ended one is not started again.
"""

import contextlib
import dataclasses
import functools
import json
import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sonoforge.runtime.atomic import write_json
from sonoforge.runtime.cli.options import flag, format_value
from sonoforge.runtime.cli.progress import stderr_handlers
from sonoforge.runtime.errors import GateError, SonoforgeError
from sonoforge.runtime.seeds import derive_seed
from sonoforge.training.architecture_search import study as studies
from sonoforge.training.data.split_plan import check_unchanged
from sonoforge.training.gan import checkpoint as gan_checkpoint
from sonoforge.training.gan import engine, options, recipes, start_from, ticks, training_set
from sonoforge.training.gan.generator import load_generator
from sonoforge.training.gan.settings import compose, measures_in_features
from sonoforge.training.gan.training import Pretrained, Training, open_pretrained, prepare, suited_space
from sonoforge.training.run_folder import log_to

METRICS = ("kid", "fid")
RECORD = "trial.json"
FIGURES = ("kid", "kid_standard_error", "fid", "kimg", "step", "diversity", "seconds", "seed")
# Settings that the search itself makes, or that are useless in a single training run.
_NOT_IN_COMMANDS = {"metrics", "tick_steps", "seed", "held_out"}

Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Source:
    """Where one recipe's images and networks come from, in any process."""

    data: tuple[str, ...]  # see `load.ImageSource`
    cache: Path  # folder of decoded images
    settings: options.GanSettings  # as the user gave them, with the recipe and the feature space
    device: str
    apart: float  # share of the images read by no trial
    groups_from: str = ""  # see `load.ImageSource`
    fingerprint: str = ""  # of the trials' images; empty: not known yet

    def read(self) -> training_set.TrainingSet:
        """Read the images.

        Raises:
            SonoforgeError: See `read_training_set`.
        """
        return training_set.read_training_set(
            self.data, self.settings, groups=True, groups_from=self.groups_from, cache_folder=self.cache
        )


class Opened(NamedTuple):
    """An opened `Source`."""

    images: training_set.TrainingSet  # read by the trials
    apart: training_set.TrainingSet | None  # read by none
    settings: options.GanSettings  # of the source
    device: str
    pretrained: Pretrained
    seed: int  # of the held-out images, the same in every trial
    recipe: recipes.Recipe  # with the user's settings


def with_space(source: Source) -> Source:
    """Choose the metrics' feature space if neither the user nor a perceptual term has one."""
    settings = source.settings
    if settings.metric_features or measures_in_features(settings):
        return source
    images = source.read()
    return dataclasses.replace(source, settings=dataclasses.replace(settings, metric_features=suited_space(images)))


@functools.lru_cache(maxsize=2)  # of one recipe at a time; a process has many trials of it
def open_source(source: Source, seed: int) -> Opened:
    """Read the images and open the networks of one recipe; the seed chooses the images to set apart.

    Raises:
        SonoforgeError: The settings or images are bad, or the images differ from those at the start of the search.
    """
    images, apart = source.read(), None
    if source.apart:
        try:
            images, apart = training_set.set_aside(images, source.apart, derive_seed(seed, "apart from all trials"))
        except SonoforgeError as error:
            found = str(error).removeprefix("held_out: ").partition("; ")[0]
            raise SonoforgeError(f"search.second_held_out: {found}; give a larger share, or 0 for none") from error
    if source.fingerprint not in ("", images.fingerprint):
        raise SonoforgeError(
            f"{', '.join(source.data)}: differ from the images with which the search began; give each machine the same"
        )
    settings = source.settings
    pretrained = open_pretrained(settings, source.device)
    return Opened(images, apart, settings, source.device, pretrained, seed, compose(settings))


def keep_sources(folder: Path, opened: Opened) -> None:
    """Record the content hash of each image file in a run folder.

    Raises:
        SonoforgeError: The run was started with other images.
    """
    path, now = folder / gan_checkpoint.SOURCES, dict(opened.images.sources)
    if not path.is_file():
        write_json(path, now)
    else:
        check_unchanged(str(folder), json.loads(path.read_text(encoding="utf-8")), now)


@dataclasses.dataclass(frozen=True)
class Rules:
    """How to measure and end the trials of a study."""

    seed: int
    metric: str  # to minimise, of `METRICS`
    pruned: bool  # whether a trial is given up by the median of others, see `study.gives_up`


class TrialTask(NamedTuple):
    """One trial, for this process or another."""

    trial: studies.Trial
    past: tuple[studies.Reports, ...]  # see `study.Study.past`
    settings: options.GanSettings
    source: Source
    rules: Rules
    folder: Path  # of this trial
    weights: Path | None  # folder of the trial whose weights it starts with
    run: Path  # the run folder


def trial_folder(run: Path, study: str, number: int) -> Path:
    """Return a trial's folder in the run folder."""
    return run / study / f"trial-{number:04d}"


def prepare_trial(opened: Opened, settings: options.GanSettings, weights: Path | None = None) -> Training:
    """Prepare a training run with a tick at each measurement, perhaps from an earlier trial's weights.

    Raises:
        SonoforgeError: The settings do not fit together, or there are too few images.
    """
    pretrained = opened.pretrained
    if weights is not None:
        pretrained = dataclasses.replace(pretrained, start_from=start_from.read_starting_weights(str(weights)))
    training = prepare(settings, opened.images, opened.device, pretrained, opened.seed)
    return training.changed(tick_steps=math.ceil(training.plan.steps / studies.MEASUREMENTS))


def run_trial(task: TrialTask) -> studies.Trial:
    """Train a trial, or continue it, and record its outcome in ``trial.json``."""
    path, rules = task.folder / RECORD, task.rules
    if path.is_file():
        return _with(task.trial, json.loads(path.read_text(encoding="utf-8")))
    opened = open_source(task.source, rules.seed)
    training = prepare_trial(opened, task.settings, task.weights)
    watch = _Watch(task, training.plan.steps)
    state, why = studies.COMPLETE, ""
    with log_to(task.run), _only_errors_on_stderr():
        try:
            engine.train_gan(training, task.folder, resume=True, stop=watch)
        except GateError as error:
            state, why = studies.DIVERGED, str(error).removeprefix(f"{task.folder}: ")
    checkpoints = gan_checkpoint.list_checkpoints(task.folder / "checkpoints")
    rows = ticks.read_stats(task.folder, gan_checkpoint.describe(checkpoints[-1]).step) if checkpoints else []
    if state == studies.COMPLETE and rows[-1]["step"] < training.plan.steps:
        state = studies.PRUNED
    watch.look(rows)
    measured = [row for row in rows if "kid" in row]
    last = measured[-1] if measured else {}
    details = {name: last.get(name) for name in ("kid", "kid_standard_error", "fid", "kimg", "step", "diversity")}
    details |= {"seconds": ticks.training_seconds(rows), "seed": training.settings.seed, "why": why}
    record = {"state": state, "reports": watch.reports, "details": details}
    write_json(path, record)
    return _with(task.trial, record)


def _with(trial: studies.Trial, record: Mapping[str, Any]) -> studies.Trial:
    reports = tuple((int(number), float(value)) for number, value in record["reports"])
    return dataclasses.replace(trial, state=record["state"], reports=reports, details=record["details"])


def measure_apart(folder: Path, opened: Opened) -> dict[str, Any]:
    """Measure a trial's last generator against the images set apart, if any; see `ticks.measure_metrics`."""
    if opened.apart is None or opened.pretrained.space is None:
        return {}
    generator = load_generator(folder, opened.device)
    seed = opened.settings.seed
    reference = ticks.make_metric_reference(
        METRICS, opened.pretrained.space, opened.images, opened.apart, generator, seed
    )
    return ticks.measure_metrics(generator, reference, opened.images.image_channels)


@contextlib.contextmanager
def _only_errors_on_stderr() -> Iterator[None]:
    """Send a training run's messages only to ``log.txt``: nobody reads the messages of a hundred training runs."""
    with contextlib.ExitStack() as stack:
        for handler in stderr_handlers():
            stack.callback(handler.setLevel, handler.level)
            handler.setLevel("ERROR")
        yield


class _Watch:
    """The ``stop`` of `train_gan`: watches new measurements."""

    def __init__(self, task: TrialTask, steps: int) -> None:
        self._task, self._steps = task, steps
        self._size = -1
        self.gave_up = False
        self.reports: list[tuple[int, float]] = []

    def __call__(self) -> bool:
        path = self._task.folder / "stats.jsonl"
        size = path.stat().st_size if path.is_file() else 0
        if size != self._size:
            self._size = size
            self.look(ticks.read_stats(self._task.folder, self._steps))
        return self.gave_up

    def look(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Report new measurements, numbered by their share of the budget."""
        for row in rows:
            number = round(studies.MEASUREMENTS * row["step"] / self._steps)
            known = {other for other, _ in self.reports}
            value = row.get(self._task.rules.metric)
            if self.gave_up or value is None or number < 1 or number in known:
                continue
            self.reports.append((number, value))
            judged = self._task.rules.pruned and studies.gives_up(self._task.past, tuple(self.reports))
            self.gave_up = judged and row["step"] < self._steps


@dataclasses.dataclass(frozen=True)
class Searched(studies.History):
    """A study, finished or so far."""

    name: str
    trials: Sequence[studies.Trial]  # by number, also those under way
    total: int  # trials in all
    metric: str  # `kid` or `fid`
    # The best trial's figures against images that no trial read; may be empty.
    apart: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    command: str = ""  # trains with its settings

    @property
    def states(self) -> dict[str, int]:
        """Numbers of trials by how they ended."""
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
        return {**found, "command": self.command}


def trial_row(trial: studies.Trial) -> Row:
    """Return an ended trial in the columns of the table, with its last metric."""
    about = {"study": trial.study, "trial": trial.number, "state": trial.state}
    figures = {name: trial.details.get(name) for name in FIGURES}
    folder = trial_folder(Path(), trial.study, trial.number).as_posix()
    return {**about, **figures, **trial.values, "why": trial.details.get("why", ""), "run": folder}


def train_command(data: str, settings: options.GanSettings) -> str:
    """Return the ``gan train`` command for these settings, with these data flags."""
    words = [f"sonoforge gan train {data}"]
    for field in dataclasses.fields(options.GanSettings):
        value = getattr(settings, field.name)
        if field.name in _NOT_IN_COMMANDS or (value == field.default and field.name != "recipe"):
            continue
        text = shlex.quote(format_value(value))
        name = field.metadata["aliases"][0] if field.metadata["renamed"] else field.name
        flagged = field.name in options.FLAGGED.split()
        words.append(f"{flag(name)} {text}" if flagged else f"--set gan.{field.name}={text}")
    return " ".join(words)
