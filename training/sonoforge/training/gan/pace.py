"""How many steps a training does in so many minutes, told by two short ones."""

import contextlib
import dataclasses
import logging
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training import run_folder
from sonoforge.training.devices import open_fabric
from sonoforge.training.gan.engine import train_gan
from sonoforge.training.gan.options import PRECISIONS, GanSettings
from sonoforge.training.gan.progress.ticks import read_stats, training_cost
from sonoforge.training.gan.training import Training

log = logging.getLogger(__name__)

LENGTH = ("minutes",)  # what tells runs apart that are as long as their minutes, see `run_folder.open_run`
PACE = "pace"  # folder of the short trainings, inside that of the training
FIRST_STEPS = 4  # of the first one
PACE_STEPS = 32  # of the second one, where a step is quick: twice the longest interval of a regulariser
PACE_SHARE = 0.2  # of the minutes: the longest that the second one may take
TICK_SHARE = 0.25  # of the minutes: the longest that samples, checkpoints and measuring may take
FEWEST_TICK_STEPS, MOST_TICKS = 50, 50


class Pace(NamedTuple):
    """What a training takes on this machine."""

    step: float  # seconds
    tick: float  # seconds that samples, a checkpoint and measuring take at the end of a tick

    def fit(self, seconds: float, settings: GanSettings) -> dict[str, int]:
        """Return as many ``steps`` as so many seconds have room for, ticks among them, and ``tick_steps``."""
        ticks = min(MOST_TICKS, max(1, int(TICK_SHARE * seconds / self.tick)))
        steps = max(1, int((seconds - min(ticks * self.tick, TICK_SHARE * seconds)) / self.step))
        return {"steps": steps, "tick_steps": settings.tick_steps or max(FEWEST_TICK_STEPS, math.ceil(steps / ticks))}


def steps_in(minutes: float, training: Training, folder: Path, stop: Callable[[], bool]) -> int | None:
    """Return how many steps a training does in so many minutes of training alone; see `measure_pace`.

    Samples, checkpoints and measuring come on top.

    Returns:
        At least 1; None if it was stopped.
    """
    pace = measure_pace(minutes, training, folder, stop)
    return None if pace is None else max(1, round(60 * minutes / pace.step))


def measure_pace(minutes: float, training: Training, folder: Path, stop: Callable[[], bool]) -> Pace | None:
    """Measure what a training takes, by short ones.

    They run through the whole schedule, all resolutions of a growing network among it.  Called again with the same
    folder, the answer is the same, on a faster machine, too.

    Args:
        minutes: Of which the measuring may take a share.
        training: Its own length does not count.
        folder: Of the training; what is measured is kept in its sub-folder `PACE`.
        stop: As of `engine.train_gan`.

    Returns:
        None if it was stopped.
    """
    log.info("measuring the pace of %s", training.settings.recipe)
    training = dataclasses.replace(training, milestones=())
    fabric = open_fabric(training.device, PRECISIONS[training.settings.precision])
    fabric.launch()
    step = tick = 0.0
    for count in (FIRST_STEPS, PACE_STEPS):
        own = folder / PACE / f"{count}-steps"
        with quietly(__package__):
            train_gan(training.of_length(count), own, resume=True, show_progress=True, stop=stop)
        fabric.barrier()  # the first process writes what all of them read now, so that they agree
        if not run_folder.is_finished(own):
            return None
        hours = training_cost(own, count)["hours"]
        if not hours:
            raise SonoforgeError(f"{own}: found no time that its steps took; remove the folder to measure it again")
        step = hours * 3600 / count
        tick = max(1e-3, read_stats(own, count)[-1]["elapsed_seconds"] - hours * 3600)
        if step * PACE_STEPS > PACE_SHARE * 60 * minutes:
            break
    return Pace(step, tick)


@contextlib.contextmanager
def quietly(name: str | None) -> Iterator[None]:
    """Keep to itself what a package logs, but errors: that these trainings are too short to learn is of no interest."""
    trainings = logging.getLogger(name)
    level = trainings.level
    trainings.setLevel(logging.ERROR)
    try:
        yield
    finally:
        trainings.setLevel(level)
