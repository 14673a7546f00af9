"""Train one generator in its own run folder: for a number of steps, or for as long as some minutes allow."""

from __future__ import annotations

import dataclasses
import functools
import json
import logging
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sonoforge.runtime.atomic import write_json
from sonoforge.runtime.cli.options import flatten
from sonoforge.training import run_folder
from sonoforge.training.devices import device_name, find_device
from sonoforge.training.gan import checkpoint as gan_checkpoint
from sonoforge.training.gan.engine import newest_checkpoint, train_gan
from sonoforge.training.gan.minutes import (
    LENGTH,
    PACE,
    Offer,
    choose,
    list_offers,
    measure_pace,
    quietly,
    seconds_a_step,
    smallest,
    with_recipe,
)
from sonoforge.training.gan.options import PUBLISHED, GanSettings
from sonoforge.training.gan.recipes import short_name
from sonoforge.training.gan.settings import DURATIONS, given_lengths
from sonoforge.training.gan.training import Training, open_pretrained, prepare
from sonoforge.training.gan.training_set import TrainingSet, read_training_set
from sonoforge.training.progress import finishing_on_interrupt
from sonoforge.training.settings.gan import GanTrainConfig

log = logging.getLogger(__name__)

LEAST_LEFT = 0.6  # of the minutes: trained at least, whatever reading and measuring took


class GeneratorRun(NamedTuple):
    """The run folder of a training, finished or stopped early."""

    folder: Path
    checkpoint: Path | None  # the newest; None if it was stopped before the first
    best: Path | None  # with the lowest KID; None where none was measured
    measured: bool  # whether metrics were computed while it trained
    results: Mapping[str, Any]  # of ``results.json``; empty while unfinished

    @property
    def finished(self) -> bool:
        """Whether it reached its end."""
        return bool(self.results)


class Ready(NamedTuple):
    """A training whose settings, images and networks were checked; nothing is written yet."""

    config: GanTrainConfig  # filled in
    began: float  # `time.monotonic`
    training: Training  # of a run by minutes, the cheapest of `options`
    options: _Options | None  # the choices of a run by minutes
    disk: str  # what is written, and how much is free
    earlier: Path | None  # the run to resume, if that is asked for and there is one

    def describe(self) -> str:
        """Say what would run, in a few lines."""
        training, minutes = self.training, self.config.minutes
        length = f"for {minutes:g} minutes" if self.options else f"{training.plan.steps} steps of {training.plan.batch}"
        learned = f"{len(training.originals)} images of {training.settings.class_name or 'all classes'}"
        said = f"to train: {training.settings.recipe} on {learned}, {length}\ndisk: {self.disk}"
        return f"{said}\nto resume: {self.earlier or 'nothing'}" if self.config.resume else said


def check(config: GanTrainConfig) -> Ready:
    """Read the images, open the networks, and refuse what cannot be trained, without writing to ``config.out``."""
    began = time.monotonic()
    by_minutes = config.minutes is not None and not given_lengths(config.gan)
    settings = with_recipe(config.gan)
    if not by_minutes:
        recipe, preset = config.gan.recipe or GanSettings.recipe, config.gan.preset or PUBLISHED
        settings = dataclasses.replace(config.gan, recipe=recipe, preset=preset)
    config = dataclasses.replace(config, gan=settings)
    groups = bool(settings.measured) if settings.held_out is None else settings.held_out > 0
    groups = groups or settings.expand_to is not None
    read = functools.partial(
        read_training_set,
        config.data,
        groups_from=config.groups_from,
        cache_folder=config.storage.open(),
        phantoms=config.images,
    )
    images = read(smallest(settings) if by_minutes else settings, groups=groups)
    options = _options(config, images, read) if by_minutes else None
    training = options.first if options else prepare(settings, images, config.device)
    earlier = run_folder.find_run(Path(config.out), **_identity(config, training, options)) if config.resume else None
    needed = training.checkpoint_bytes
    if earlier:  # older checkpoints make room, once the next one is written
        kept = sum(file.stat().st_size for file in (earlier / "checkpoints").rglob("*"))
        needed = max(needed - kept, needed // gan_checkpoint.KEPT)
    disk = run_folder.check_disk(Path(config.out), {"checkpoints": needed})
    return Ready(config, began, training, options, disk, earlier)


def _identity(config: GanTrainConfig, training: Training, options: _Options | None) -> dict[str, Any]:
    """Return what a run is found again by, as arguments of `find_run`."""
    by_minutes = run_folder.Length(LENGTH, lambda other: (other.get("minutes") or math.inf) < (config.minutes or 0))
    return {
        "name": run_folder.slug("gan", short_name(config.gan.recipe), training.originals.name, config.gan.class_name),
        "config": flatten(config),
        "compared": LENGTH if options else (),
        "length": by_minutes if options else _by_steps(training),
    }


def work(config: GanTrainConfig) -> GeneratorRun:
    """Train, continue, or read what is done already; Ctrl-C closes the tick and saves."""
    config, began, training, options, *_ = check(config)
    settings, identity = config.gan, _identity(config, training, options)
    values, length = identity["config"], identity["length"]
    folder = run_folder.open_run(Path(config.out), **identity, resume=config.resume)
    with run_folder.working_in(folder), finishing_on_interrupt() as interrupted:
        if options:
            fitted = _fit(config, options, folder, began, interrupted)
            if fitted is None:
                return GeneratorRun(folder, None, None, bool(settings.measured), {})
            training = fitted
        if run_folder.differences(folder, values, identity["compared"]):
            newest_checkpoint(folder, training, resume=True)  # refuses what cannot be made longer
            run_folder.lengthen(folder, values, length)
        device = device_name(find_device(config.device))
        run_folder.write_environment(folder, device, settings.seed, training.images.fingerprint)
        deadline = float("inf") if options or config.minutes is None else time.monotonic() + 60 * config.minutes
        checkpoint = train_gan(
            training,
            folder,
            resume=config.resume,
            show_progress=True,
            stop=lambda: interrupted() or time.monotonic() > deadline,
        )
    results = run_folder.read_results(folder) if run_folder.is_finished(folder) else {}
    best = gan_checkpoint.best_checkpoint(folder / "checkpoints")
    return GeneratorRun(folder, checkpoint, best, bool(settings.measured), results)


def _by_steps(training: Training) -> run_folder.Length:
    """Recognise a shorter run by its number of steps."""

    def is_shorter(config: Mapping[str, Any]) -> bool:
        lengths = {name: config.get(f"gan.{name}") for name in DURATIONS}
        by_its_minutes = config.get("minutes") is not None and not any(lengths.values())
        return not by_its_minutes and training.changed(**lengths).plan.steps < training.plan.steps

    return run_folder.Length(tuple(f"gan.{name}" for name in DURATIONS), is_shorter)


class _Options(NamedTuple):
    """The possible training runs for a number of minutes."""

    offers: list[Offer]  # the cheapest first
    first: Training  # the cheapest, made ready
    ready: Callable[[GanSettings], Training]  # makes one ready


def _options(config: GanTrainConfig, images: TrainingSet, read: Callable[..., TrainingSet]) -> _Options:
    """List the ways to train, and prepare the cheapest, so that refusals happen here."""
    opened = open_pretrained(smallest(config.gan), config.device)
    offers = list_offers(config.gan, images, opened)

    def at_size(settings: GanSettings) -> TrainingSet:
        if settings.image_size == images.pixels.shape[1]:
            return images
        return dataclasses.replace(read(settings), groups=images.groups)

    first = prepare(offers[0].settings, at_size(offers[0].settings), config.device, opened)
    known = dataclasses.replace(opened, space=first.pretrained.space)

    def ready(settings: GanSettings) -> Training:
        with quietly("sonoforge.training"):  # the first has said all of the images
            return prepare(settings, at_size(settings), config.device, known)

    return _Options(offers, first, ready)


def _fit(
    config: GanTrainConfig, options: _Options, folder: Path, began: float, stop: Callable[[], bool]
) -> Training | None:
    """Choose the training that ends this many minutes after it starts; None if it was stopped.

    With the same folder it is the same, except for its steps if the minutes differ.
    """
    minutes, kept = config.minutes or 0.0, folder / PACE / "chosen.json"

    def spent() -> float:
        return time.monotonic() - began

    chosen = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {}
    if not chosen:
        offer = choose(
            minutes, options.offers, lambda offer, limit: seconds_a_step(options.ready(offer.settings), limit), spent
        )
        pace = measure_pace(minutes, options.ready(offer.settings), folder, stop)
        if pace is None:
            return None
        length = pace.fit(max(60 * minutes - spent(), LEAST_LEFT * 60 * minutes), offer.settings)
        chosen = {name: getattr(offer.settings, name) for name in ("preset", "image_size", "batch")} | length
        chosen["minutes"] = minutes
        log.info(
            "in %g min on this machine: %s, %d steps (recipe, preset, image size and batch are as given, or chosen)",
            minutes, offer, chosen["steps"],
        )  # fmt: skip
        write_json(kept, chosen)
    # A run that is made longer keeps its pace, and all else that was chosen.
    chosen["steps"] = round(chosen["steps"] * minutes / chosen.pop("minutes"))
    return options.ready(dataclasses.replace(config.gan, **chosen))
