"""``sonoforge gan train``: train one generator, of one class or of all, in a run folder of its own."""

import contextlib
import logging
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from sonoforge.runtime.cli.answer import say
from sonoforge.runtime.cli.options import CONTINUE, Outcome, flatten
from sonoforge.training import run_folder
from sonoforge.training.devices import open_fabric
from sonoforge.training.gan import checkpoint as gan_checkpoint
from sonoforge.training.gan.batches.training_set import read_training_set
from sonoforge.training.gan.engine import train_gan
from sonoforge.training.gan.options import PRECISIONS
from sonoforge.training.gan.pace import LENGTH, steps_in
from sonoforge.training.gan.progress.curves import OVER_TIME, PICTURE
from sonoforge.training.gan.settings import given_lengths
from sonoforge.training.gan.training import prepare
from sonoforge.training.verbs.settings.gan import GanTrainConfig

log = logging.getLogger(__name__)

UNFINISHED = "stopped before its end"


def main(config: GanTrainConfig) -> Outcome:
    """Train, or continue, or report that it is done."""
    settings = config.gan
    groups = bool(settings.measured) if settings.held_out is None else settings.held_out > 0
    groups = groups or settings.expand_to is not None
    images = read_training_set(
        config.data, settings, groups=groups, groups_from=config.groups_from, cache_folder=config.storage.open()
    )
    training = prepare(settings, images, config.device)  # refuses bad settings before a folder is made
    fabric = open_fabric(config.device, PRECISIONS[settings.precision])
    fabric.launch()
    if not fabric.is_global_zero:
        logging.getLogger("sonoforge").setLevel(logging.WARNING)  # the first process speaks for all
    slug = run_folder.slug("gan", settings.recipe, images.name, settings.class_name)
    opened = ""
    if fabric.is_global_zero:
        compared = () if given_lengths(settings) else LENGTH
        values = flatten(config)
        opened = str(run_folder.open_run(Path(config.out), slug, values, resume=config.resume, compared=compared))
    folder = Path(fabric.broadcast(opened))
    with contextlib.ExitStack() as stack:
        if fabric.is_global_zero:
            stack.enter_context(run_folder.working_in(folder))
            run_folder.write_environment(
                folder, run_folder.describe_environment(device_name(fabric.device), settings.seed, images.fingerprint)
            )
        interrupted = stack.enter_context(finishing_on_interrupt())
        deadline = float("inf")
        if config.minutes is not None and given_lengths(settings):
            deadline = time.monotonic() + 60 * config.minutes
        elif config.minutes is not None:
            steps = steps_in(config.minutes, training, folder, interrupted)
            if steps is None:
                log.info(UNFINISHED)
                return Outcome({"run": str(folder), "finished": False}, CONTINUE)
            training = training.of_length(steps)
        checkpoint = train_gan(
            training,
            folder,
            resume=config.resume,
            show_progress=True,
            stop=lambda: interrupted() or time.monotonic() > deadline,
        )
    finished = run_folder.is_finished(folder)
    best = gan_checkpoint.best_checkpoint(folder / "checkpoints")
    say("samples: %s   over time: %s", folder / "samples", folder / OVER_TIME)
    if settings.measured:
        say("curves: %s   best checkpoint: %s", folder / PICTURE, best.name if best else "none")
    result: dict[str, Any] = {"run": str(folder), "finished": finished, "checkpoint": str(checkpoint)}
    if not finished:
        log.info(UNFINISHED)
    results = run_folder.read_results(folder) if finished else {}
    which = "--checkpoint best " if settings.measured and best else ""
    following = f"sonoforge gan sample {folder} {which}--count 64"
    return Outcome({**results, **result}, following if finished else CONTINUE)


@contextlib.contextmanager
def finishing_on_interrupt() -> Iterator[Callable[[], bool]]:
    """Let the first Ctrl-C only be noted while inside, and hand out the function that tells; the second one stops.

    The command line answers SIGTERM likewise, see `cli.interruption`.
    """
    noted = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal noted
        del number, frame
        noted = True
        signal.signal(signal.SIGINT, before)
        log.warning("interrupted: closing the tick and saving; Ctrl-C again stops at once")

    before = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: noted
    finally:
        signal.signal(signal.SIGINT, before)


def device_name(device: torch.device) -> str:
    """Name a device for the record: the GPU, or how many of the cores are used."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"cpu ({torch.get_num_threads()} of {os.cpu_count()} cores)"
