"""What can be learned in so many minutes: what was left open of a training is chosen by the pace of a few steps.

What a generator needs before it draws anything was read from ``training/studies/race/answers/minutes-2.csv`` and
``minutes-4.csv`` (BUS-BRA at 64 x 64).  No row of fewer than `LEAST_STEPS` generator updates or `LEAST_IMAGES` images
shown has a KID below 42 times that of real images among themselves: noise.  With more, the first recipes come below:
`projected` after 64 steps, StyleGAN2 after 91.  After `ENOUGH_STEPS` and `ENOUGH_IMAGES`, DCGAN and StyleGAN2 are at
half of that; larger images are taken to need more, by their side, which was not measured.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from sonoforge.models import IMAGE_SIZES
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training import run_folder
from sonoforge.training.devices import deterministic_kernels, open_fabric
from sonoforge.training.gan.distributed import any_process
from sonoforge.training.gan.engine import prepare_data, train_gan, train_step
from sonoforge.training.gan.networks import Seen, outline_networks
from sonoforge.training.gan.options import PRECISIONS, PUBLISHED, GanSettings
from sonoforge.training.gan.progress.ticks import read_stats, training_cost
from sonoforge.training.gan.recipes import RECIPES
from sonoforge.training.gan.settings import compose, make_plan
from sonoforge.training.gan.state import build_state
from sonoforge.training.gan.training import Pretrained, Training, options_of_generator
from sonoforge.training.gan.training_set import TrainingSet

log = logging.getLogger(__name__)

LEAST_STEPS, LEAST_IMAGES = 50, 1000
ENOUGH_STEPS, ENOUGH_IMAGES = 400, 6000  # at `USUAL_SIDE` pixels
USUAL_SIDE = 64

# Those whose number of updates in a short time was measured to be enough; the first has to be shown a network.
_WITH_FEATURES, _RECIPES = "projected", ("dcgan", "stylegan2")
_SMALL_PRESETS = ("few-cores", "small-data")
_SMALL_BATCH = 16

PROBES = 4  # offers whose pace is measured, at most
PROBE_STEPS = 3  # of each; the first, which warms up, does not count where there are more
PROBE_SHARE = 0.05  # of the minutes, after which no further step of an offer is taken
_LAST_STEP = 1000  # probed is what comes before it: no lazy regulariser is due, and growing networks are grown
_HOPE = 4  # an offer is worth measuring if it is enough at a pace this many times better than foretold


class Offer(NamedTuple):
    """One way to train."""

    settings: GanSettings  # recipe, preset, image size and batch filled in
    shown: int  # real images a step
    cost: int  # proportional to the multiplications of a step

    @property
    def enough(self) -> float:
        """Steps after which it has learned something worth seeing."""
        side = self.settings.image_size or USUAL_SIDE
        return max(ENOUGH_STEPS, ENOUGH_IMAGES / self.shown) * max(1.0, side / USUAL_SIDE)

    @property
    def least(self) -> int:
        """Steps before which it draws nothing but noise."""
        return max(LEAST_STEPS, math.ceil(LEAST_IMAGES / self.shown))

    def __str__(self) -> str:
        """Return it in words."""
        own = self.settings
        preset = "" if own.preset == PUBLISHED else f":{own.preset}"
        return f"{own.recipe}{preset} at {own.image_size}x{own.image_size}, batches of {own.batch}"


def with_recipe(settings: GanSettings) -> GanSettings:
    """Name a recipe that learns in minutes, where none is named: one that has the preset, if that is."""
    if settings.recipe:
        return settings
    known = (_WITH_FEATURES,) if settings.features else _RECIPES
    having = [name for name in known if settings.preset in ("", PUBLISHED, *RECIPES[name].presets)]
    return dataclasses.replace(settings, recipe=(having or known)[0])


def smallest(settings: GanSettings) -> GanSettings:
    """Return the settings with their smallest preset and image size, where these are left open."""
    small = [name for name in _SMALL_PRESETS if name in RECIPES[settings.recipe].presets]
    preset = settings.preset or [*small, PUBLISHED][0]
    return dataclasses.replace(settings, preset=preset, image_size=settings.image_size or IMAGE_SIZES[0])


def with_defaults(settings: GanSettings) -> GanSettings:
    """Return the settings with recipe and preset, which may be left open only where they are chosen."""
    recipe, preset = settings.recipe or GanSettings.recipe, settings.preset or PUBLISHED
    return dataclasses.replace(settings, recipe=recipe, preset=preset)


def list_offers(settings: GanSettings, images: TrainingSet, pretrained: Pretrained) -> list[Offer]:
    """Return the ways to train that what was named leaves open, the cheapest first.

    Args:
        settings: With a recipe; preset, image size and batch are what the user named, or empty.
        images: At any size.
        pretrained: What the settings name.

    Raises:
        SonoforgeError: There is none.
    """
    presets = (*[name for name in _SMALL_PRESETS if name in RECIPES[settings.recipe].presets], PUBLISHED)
    offers, refused = [], None
    for preset in (settings.preset,) if settings.preset else presets:
        named = dataclasses.replace(settings, preset=preset)
        try:
            published = compose(named).image_size
        except SonoforgeError as error:
            refused = error
            continue
        sizes = [side for side in IMAGE_SIZES if side <= published]
        for side in (settings.image_size,) if settings.image_size else sizes:
            sized = dataclasses.replace(named, image_size=side)
            for batch in (settings.batch,) if settings.batch else _batches(sized, len(images) * settings.expand):
                try:
                    offers.append(_offer(dataclasses.replace(sized, batch=batch), images, pretrained))
                except SonoforgeError as error:
                    refused = error
    if not offers:
        raise refused or SonoforgeError(f"image_size: found no size at which {settings.recipe} can be trained")
    return sorted(offers, key=lambda offer: offer.cost)


def _batches(settings: GanSettings, images: int) -> list[int]:
    """Return the recipe's batch, but at most half of the images, and a small one."""
    published = compose(settings).budget_for(settings.class_name).batch
    most = min(published, 2 ** int(math.log2(max(2, images / 2))))
    parts = settings.accumulate
    return sorted({max(2 * parts, batch - batch % parts) for batch in (min(most, _SMALL_BATCH), most)})


def _offer(settings: GanSettings, images: TrainingSet, pretrained: Pretrained) -> Offer:
    recipe, plan = compose(settings), make_plan(settings, len(images) * settings.expand)
    options = options_of_generator(images, recipe, plan, settings.accumulate)
    seen = None if pretrained.features is None else Seen(pretrained.features, images.image_channels)
    networks = outline_networks(recipe, options, seen)
    weights = sum(weight.numel() for network in networks for weight in network.parameters())
    shown = plan.batch * recipe.n_critic
    return Offer(settings, shown, weights * shown * plan.image_size**2)


def choose(
    minutes: float, offers: Sequence[Offer], pace: Callable[[Offer, float], float], spent: Callable[[], float]
) -> Offer:
    """Return the largest offer that learns enough within the minutes, else the cheapest.

    Args:
        minutes: Of training.
        offers: As of `list_offers`.
        pace: Measures the seconds a step of an offer; told after how many seconds to stop.
        spent: Tells the seconds that the measuring has taken.

    Raises:
        SonoforgeError: None of them can learn anything in that time.
    """
    total = 60 * minutes
    limit = PROBE_SHARE * total
    chosen, seconds = offers[0], pace(offers[0], limit)
    left = list(offers[1:])  # between the chosen one and the cheapest that is known to be too slow
    for _ in range(PROBES - 1):
        foretold = seconds / chosen.cost
        hopeful = [offer for offer in left if total / (foretold * offer.cost) * _HOPE >= offer.enough]
        if not hopeful or spent() > limit * PROBES:
            break
        tried = hopeful[-1]
        found, place = pace(tried, limit), left.index(tried)
        if total / found >= tried.enough:
            chosen, seconds, left = tried, found, left[place + 1 :]
        else:
            left = left[:place]
    if total / seconds < chosen.least:
        raise SonoforgeError(_too_short(minutes, chosen, seconds, offers))
    return chosen


def _too_short(minutes: float, offer: Offer, seconds: float, offers: Sequence[Offer]) -> str:
    needed = math.ceil(offer.least * seconds / 6) / 10
    fixed = [] if offer.settings.recipe in (_WITH_FEATURES, _RECIPES[0]) else ["--recipe"]
    fixed += ["--image-size"] if min(each.settings.image_size or 0 for each in offers) > IMAGE_SIZES[0] else []
    fixed += ["--batch"] if min(each.settings.batch or 0 for each in offers) > _SMALL_BATCH else []
    return (
        f"minutes: found {minutes:g} for {offer}, where a step takes {seconds:.2g} s on this machine, expected time "
        f"for at least {offer.least} steps, before which a generator draws noise; give --minutes {needed:g} or more"
        + (f", or leave {' and '.join(fixed)} to be chosen" if fixed else "")
    )


def seconds_a_step(training: Training, limit: float) -> float:
    """Time a few steps of a training, without its records.

    Args:
        training: Its own length does not count.
        limit: Seconds after which no further step is begun.
    """
    training = training.of_length(_LAST_STEP)
    fabric = open_fabric(training.device, PRECISIONS[training.settings.precision])
    fabric.launch()
    state = build_state(fabric, training, None)
    real, sampling = prepare_data(state, training)
    times: list[float] = []
    with deterministic_kernels(fabric.device):
        for step in range(_LAST_STEP - PROBE_STEPS, _LAST_STEP):
            began = time.monotonic()
            train_step(state, training, real, sampling, step)
            if fabric.device.type == "cuda":
                torch.cuda.synchronize(fabric.device)
            times.append(time.monotonic() - began)
            if any_process(fabric, sum(times) > limit):
                break
    # The first process speaks for all, so that they agree.
    return float(fabric.broadcast(min(times[1:] or times)))


# How many steps a training does in so many minutes, told by two short ones.

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
