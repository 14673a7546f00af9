"""The training of one trial, measured at equal shares of its budget, which may end it early.

A trial whose process is killed continues from its last checkpoint.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sonoforge.runtime.cli.progress import stderr_handlers
from sonoforge.runtime.errors import GateError
from sonoforge.training.gan import checkpoint as gan_checkpoint
from sonoforge.training.gan.batches.training_set import TrainingSet
from sonoforge.training.gan.engine import train_gan
from sonoforge.training.gan.job import GanJob
from sonoforge.training.gan.progress.ticks import read_stats
from sonoforge.training.gan.setup import TrainingSetup, set_up
from sonoforge.training.run_folder import log_to

METRICS = ("kid", "fid")
MEASUREMENTS = 4  # of KID in a trial, at equal shares of its budget; the last at its end
COMPLETE, OUT_OF_TIME, PRUNED, DIVERGED = "complete", "out of time", "pruned", "diverged"
ENDED = (COMPLETE, OUT_OF_TIME)
"""How a trial may end, and with which of these it has come to the end of its budget."""

Reports = tuple[tuple[int, float], ...]
"""The measurements of a trial so far: number, from 1, and the metric."""


class Limits(NamedTuple):
    """What ends a trial before its budget does."""

    gives_up: Callable[[int, float], bool]  # asked at each measurement, with its number from 1 and the metric
    minutes: float | None = None  # of training
    metric: str = "kid"  # of `METRICS`


class Result(NamedTuple):
    """How a trial's training ended."""

    state: str  # `COMPLETE`, `OUT_OF_TIME`, `PRUNED` or `DIVERGED`
    reports: Reports
    # Figures at the last measurement, seconds of training, and why it diverged.
    details: dict[str, Any]


def set_up_trial(images: TrainingSet, job: GanJob) -> TrainingSetup:
    """Make a trial's training ready, with a tick at each measurement.

    Raises:
        SonoforgeError: Settings that do not go together, or too few images.
    """
    setup = set_up(images, job)
    ticks = math.ceil(setup.plan.steps / MEASUREMENTS)
    return set_up(images, dataclasses.replace(job, settings=dataclasses.replace(job.settings, tick_steps=ticks)))


def train_trial(images: TrainingSet, setup: TrainingSetup, folder: Path, limits: Limits, run: Path) -> Result:
    """Train a trial, or go on with it.

    Args:
        images: All that it reads.
        setup: From `set_up_trial`.
        folder: Of this trial.
        limits: What ends it early.
        run: The run folder, whose log gets what the training has to say; stderr gets errors alone.
    """
    watch = _Watch(folder, setup.plan.steps, limits)
    state, why = COMPLETE, ""
    with log_to(run), _only_errors_on_stderr():
        try:
            train_gan(images, setup.job, folder, resume=True, stop=watch)
        except GateError as error:
            state, why = DIVERGED, str(error).removeprefix(f"{folder}: ")
    checkpoints = gan_checkpoint.list_checkpoints(folder / "checkpoints")
    rows = read_stats(folder, gan_checkpoint.describe(checkpoints[-1]).step) if checkpoints else []
    if state == COMPLETE and rows[-1]["step"] < setup.plan.steps:
        state = PRUNED if watch.gave_up else OUT_OF_TIME
    watch.look(rows)
    measured = [row for row in rows if "kid" in row]
    last = measured[-1] if measured else {}
    details = {name: last.get(name) for name in ("kid", "kid_standard_error", "fid", "kimg", "step", "diversity")}
    details |= {"seconds": _seconds(rows), "seed": setup.settings.seed, "why": why}
    return Result(state, tuple(watch.reports), details)


@contextlib.contextmanager
def _only_errors_on_stderr() -> Iterator[None]:
    """Leave what a training says to ``log.txt`` while inside: of a hundred of them nobody reads it as it scrolls by."""
    handlers = stderr_handlers()
    levels = [handler.level for handler in handlers]
    for handler in handlers:
        handler.setLevel("ERROR")
    try:
        yield
    finally:
        for handler, level in zip(handlers, levels, strict=True):
            handler.setLevel(level)


def _seconds(rows: Sequence[dict[str, Any]]) -> float:
    """Sum up the seconds of training; those of steps that a killed process lost count once."""
    steps = [0, *(row["step"] for row in rows)]
    return float(sum((row["step"] - last) * row["seconds_per_step"] for row, last in zip(rows, steps, strict=False)))


class _Watch:
    """The ``stop`` of `train_gan`: looks at each new measurement, and at the clock."""

    def __init__(self, folder: Path, steps: int, limits: Limits) -> None:
        self._folder, self._steps, self._limits = folder, steps, limits
        self._begun, self._left = time.monotonic(), math.inf
        if limits.minutes is not None:
            self._left = 60 * limits.minutes - _seconds(read_stats(folder, steps))
        self._size = -1
        self.gave_up = False
        self.reports: list[tuple[int, float]] = []

    def __call__(self) -> bool:
        path = self._folder / "stats.jsonl"
        size = path.stat().st_size if path.is_file() else 0
        if size != self._size:
            self._size = size
            self.look(read_stats(self._folder, self._steps))
        return self.gave_up or time.monotonic() - self._begun > self._left

    def look(self, rows: Sequence[dict[str, Any]]) -> None:
        """Report the measurements that are new; those are numbered by the share of the budget at which they lie."""
        for row in rows:
            number = round(MEASUREMENTS * row["step"] / self._steps)
            known = {other for other, _ in self.reports}
            value = row.get(self._limits.metric)
            if self.gave_up or value is None or number < 1 or number in known:
                continue
            self.reports.append((number, value))
            # What has come to its end is not given up.
            self.gave_up = self._limits.gives_up(number, value) and row["step"] < self._steps
