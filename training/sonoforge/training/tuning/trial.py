"""One trial: a training with the settings that are tried, measured as it goes on, in a folder of its own.

A trial whose process is killed continues from its last checkpoint; one that has ended is not begun again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import logging
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sonoforge.runtime.atomic import write_json
from sonoforge.runtime.cli.progress import stderr_handlers
from sonoforge.runtime.errors import GateError, SonoforgeError
from sonoforge.runtime.seeds import derive_seed
from sonoforge.training.gan import checkpoint as gan_checkpoint
from sonoforge.training.gan.batches.training_set import TrainingSet, read_training_set, set_aside
from sonoforge.training.gan.engine import train_gan
from sonoforge.training.gan.job import GanJob, open_job
from sonoforge.training.gan.options import GanSettings
from sonoforge.training.gan.progress.ticks import read_stats
from sonoforge.training.gan.recipes import Recipe
from sonoforge.training.gan.settings import compose
from sonoforge.training.gan.setup import TrainingSetup, set_up
from sonoforge.training.run_folder import log_to
from sonoforge.training.tuning.parameters import Value
from sonoforge.training.tuning.pruning import MEASUREMENTS, Pruning
from sonoforge.training.tuning.space import with_values
from sonoforge.training.tuning.study import COMPLETE, DIVERGED, ENDED, OUT_OF_TIME, PRUNED, Asked, Ended

RECORD = "trial.json"
METRICS = ("kid", "fid")


@dataclasses.dataclass(frozen=True)
class Source:
    """What the trainings of one recipe have in common: how to come by images and networks, in any process."""

    data: tuple[str, ...]  # see `load.ImageSource`
    cache: Path  # folder of decoded images
    settings: GanSettings  # as the user gave them, with the recipe and the feature space
    device: str
    apart: float  # share of the images that no trial reads
    fingerprint: str = ""  # of the images that trials read; empty: not known yet


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


class Opened(NamedTuple):
    """What a `Source` leads to."""

    images: TrainingSet  # that trials read
    apart: TrainingSet | None  # that none reads
    job: GanJob
    recipe: Recipe  # with the user's settings


@functools.lru_cache(maxsize=2)  # of one recipe at a time; a process has many trials of it
def open_source(source: Source, seed: int) -> Opened:
    """Read the images and open the networks.

    Args:
        source: Of one recipe.
        seed: Of the choice of images that are set apart.

    Raises:
        SonoforgeError: Bad settings or images, or others than where the search was begun.
    """
    images, apart = read_training_set(source.data, source.settings, groups=True, cache_folder=source.cache), None
    if source.apart:
        images, apart = set_aside(images, source.apart, derive_seed(seed, "apart from all trials"))
    if source.fingerprint not in ("", images.fingerprint):
        raise SonoforgeError(
            f"{', '.join(source.data)}: found other images here than where the search was begun; give each machine the "
            "same"
        )
    job = dataclasses.replace(open_job(source.settings, source.device), held_out_seed=seed)
    return Opened(images, apart, job, compose(source.settings))


def trial_settings(opened: Opened, study: str, number: int, values: dict[str, Value]) -> GanSettings:
    """Return the settings that a trial trains with; its seed follows from the search's, the recipe and its number."""
    settings = opened.job.settings
    own = with_values(settings, opened.recipe, values)
    return dataclasses.replace(own, seed=derive_seed(settings.seed, f"trial of {study}", number, bits=32))


def set_up_trial(opened: Opened, settings: GanSettings) -> TrainingSetup:
    """Make a trial's training ready, with a tick at each measurement.

    Raises:
        SonoforgeError: Settings that do not go together, or too few images.
    """
    setup = set_up(opened.images, dataclasses.replace(opened.job, settings=settings))
    ticks = math.ceil(setup.plan.steps / MEASUREMENTS)
    return set_up(
        opened.images, dataclasses.replace(opened.job, settings=dataclasses.replace(settings, tick_steps=ticks))
    )


def run_trial(task: TrialTask) -> Ended:
    """Train what is asked, or go on with it, and keep how it ended as ``trial.json``."""
    asked, path = task.asked, task.folder / RECORD
    if path.is_file():
        return _read(path)
    opened = open_source(task.source, task.rules.seed)
    setup = set_up_trial(opened, trial_settings(opened, asked.study, asked.number, asked.values))
    watch = _Watch(task.folder, setup.plan.steps, Pruning(task.rules.pruner, asked.history), task.rules.minutes)
    state, why = COMPLETE, ""
    with log_to(task.run), _only_errors_on_stderr():
        try:
            train_gan(opened.images, setup.job, task.folder, resume=True, stop=watch)
        except GateError as error:
            state, why = DIVERGED, str(error).removeprefix(f"{task.folder}: ")
    checkpoints = gan_checkpoint.list_checkpoints(task.folder / "checkpoints")
    rows = read_stats(task.folder, gan_checkpoint.describe(checkpoints[-1]).step) if checkpoints else []
    if state == COMPLETE and rows[-1]["step"] < setup.plan.steps:
        state = PRUNED if watch.pruned else OUT_OF_TIME
    watch.look(rows)
    measured = [row for row in rows if "kid" in row]
    last = measured[-1] if measured else {}
    value = last["kid"] if state in ENDED else None
    details = {name: last.get(name) for name in ("kid", "kid_standard_error", "fid", "kimg", "step", "diversity")}
    details |= {"seconds": _seconds(rows), "seed": setup.settings.seed, "values": asked.values, "why": why}
    ended = Ended(asked.study, asked.number, state, value, tuple(watch.reports), details)
    write_json(path, ended._asdict())
    return ended


@contextlib.contextmanager
def _only_errors_on_stderr() -> Iterator[None]:
    """Leave what a training says to ``log.txt`` while inside: of a hundred of them nobody reads it as it scrolls by."""
    handlers = stderr_handlers()
    levels = [handler.level for handler in handlers]
    for handler in handlers:
        handler.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for handler, level in zip(handlers, levels, strict=True):
            handler.setLevel(level)


def _read(path: Path) -> Ended:
    kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return Ended(**{**kept, "reports": tuple((number, value) for number, value in kept["reports"])})


def _seconds(rows: Sequence[dict[str, Any]]) -> float:
    """Sum up the seconds of training; those of steps that a killed process lost count once."""
    steps = [0, *(row["step"] for row in rows)]
    return float(sum((row["step"] - last) * row["seconds_per_step"] for row, last in zip(rows, steps, strict=False)))


class _Watch:
    """The ``stop`` of `train_gan`: looks at each new measurement, and at the clock."""

    def __init__(self, folder: Path, steps: int, pruning: Pruning, minutes: float | None) -> None:
        self._folder, self._steps, self._pruning = folder, steps, pruning
        self._begun, self._left = time.monotonic(), math.inf
        if minutes is not None:
            self._left = 60 * minutes - _seconds(read_stats(folder, steps))
        self._size = -1
        self.pruned = False
        self.reports: list[tuple[int, float]] = []

    def __call__(self) -> bool:
        path = self._folder / "stats.jsonl"
        size = path.stat().st_size if path.is_file() else 0
        if size != self._size:
            self._size = size
            self.look(read_stats(self._folder, self._steps))
        return self.pruned or time.monotonic() - self._begun > self._left

    def look(self, rows: Sequence[dict[str, Any]]) -> None:
        """Report the measurements that are new; those are numbered by the share of the budget at which they lie."""
        for row in rows:
            number = round(MEASUREMENTS * row["step"] / self._steps)
            known = {other for other, _ in self.reports}
            if self.pruned or "kid" not in row or number < 1 or number in known:
                continue
            self.reports.append((number, row["kid"]))
            # What has come to its end is not given up.
            self.pruned = self._pruning.report(number, row["kid"]) and row["step"] < self._steps
