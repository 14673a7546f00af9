"""How many steps a training does in so many minutes, told by two short ones."""

import contextlib
import dataclasses
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training import run_folder
from sonoforge.training.devices import open_fabric
from sonoforge.training.gan.engine import train_gan
from sonoforge.training.gan.options import PRECISIONS
from sonoforge.training.gan.progress.ticks import training_cost
from sonoforge.training.gan.training import Training

log = logging.getLogger(__name__)

LENGTH = ("minutes",)  # what tells runs apart that are as long as their minutes, see `run_folder.open_run`
PACE = "pace"  # folder of the short trainings, inside that of the training
FIRST_STEPS = 4  # of the first one
PACE_STEPS = 32  # of the second one, where a step is quick: twice the longest interval of a regulariser
PACE_SHARE = 0.2  # of the minutes: the longest that the second one may take


def steps_in(minutes: float, training: Training, folder: Path, stop: Callable[[], bool]) -> int | None:
    """Return how many steps a training does in so many minutes.

    A short training runs through the whole schedule, all resolutions of a growing network among it.  Called again
    with the same folder, the answer is the same, on a faster machine, too.

    Args:
        minutes: Of training alone; samples, checkpoints and measuring come on top.
        training: Its own length does not count.
        folder: Of the training; what is measured is kept in its sub-folder `PACE`.
        stop: As of `engine.train_gan`.

    Returns:
        At least 1; None if it was stopped.
    """
    log.info("measuring the pace of %s", training.settings.recipe)
    training = dataclasses.replace(training.changed(metrics=()), milestones=())
    fabric = open_fabric(training.device, PRECISIONS[training.settings.precision])
    fabric.launch()
    seconds = 0.0
    for count in (FIRST_STEPS, PACE_STEPS):
        own = folder / PACE / f"{count}-steps"
        with _trainings_untold():
            train_gan(training.of_length(count), own, resume=True, show_progress=True, stop=stop)
        fabric.barrier()  # the first process writes what all of them read now, so that they agree
        if not run_folder.is_finished(own):
            return None
        hours = training_cost(own, count)["hours"]
        if not hours:
            raise SonoforgeError(f"{own}: found no time that its steps took; remove the folder to measure it again")
        seconds = hours * 3600 / count
        if seconds * PACE_STEPS > PACE_SHARE * 60 * minutes:
            break
    return max(1, round(60 * minutes / seconds))


@contextlib.contextmanager
def _trainings_untold() -> Iterator[None]:
    """Keep what a training logs to itself: that it is too short to learn is true of these, and of no interest."""
    trainings = logging.getLogger(__package__)
    level = trainings.level
    trainings.setLevel(logging.ERROR)
    try:
        yield
    finally:
        trainings.setLevel(level)
