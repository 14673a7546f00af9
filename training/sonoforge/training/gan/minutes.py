"""Plan training runs of given minutes: choose open settings by the pace of a few steps, length by short runs.

Thresholds come from ``training/studies/race/answers/minutes-2.csv`` and ``minutes-4.csv`` (BUS-BRA at 64 x 64).  With
fewer than `LEAST_STEPS` generator updates or `LEAST_IMAGES` images shown, every KID is at least 42 times the value
between real images: noise.  The first recipes then improve: `projected` after 64 steps, StyleGAN2 after 91.  After
`ENOUGH_STEPS` and `ENOUGH_IMAGES`, DCGAN and StyleGAN2 have halved it; larger images are assumed to need more, in
proportion to their side.
"""

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
from sonoforge.training.devices import deterministic_kernels
from sonoforge.training.gan.engine import prepare_data, train_gan, train_step
from sonoforge.training.gan.networks import Seen, outline_networks
from sonoforge.training.gan.options import PUBLISHED, GanSettings
from sonoforge.training.gan.recipes import RECIPES, find_recipe
from sonoforge.training.gan.settings import compose, make_plan
from sonoforge.training.gan.state import build_state
from sonoforge.training.gan.ticks import read_stats, training_cost
from sonoforge.training.gan.training import Pretrained, Training, options_of_generator
from sonoforge.training.gan.training_set import TrainingSet

log = logging.getLogger(__name__)

LEAST_STEPS, LEAST_IMAGES = 50, 1000
ENOUGH_STEPS, ENOUGH_IMAGES = 400, 6000  # at `REFERENCE_SIDE` pixels
REFERENCE_SIDE = 64

# Recipes that were measured to learn in a short time; the first requires a feature network.
_WITH_FEATURES, _RECIPES = "projected", ("dcgan", "stylegan2")
_SMALL_PRESETS = ("few-cores", "small-data")
_SMALL_BATCH = 16

PROBES = 4  # offers whose pace is measured, at most
PROBE_STEPS = 3  # of each; the first one warms up, and does not count if there are more
PROBE_SHARE = 0.05  # of the minutes, after which no further step of an offer is taken
_LAST_STEP = 1000  # the steps before it are probed: no lazy regulariser is due, and growing networks are grown
_HOPE = 4  # an offer is worth measuring if it is enough at a pace this many times better than predicted

LENGTH = ("minutes",)  # the setting that tells apart runs of so many minutes, see `run_folder.open_run`
PACE = "pace"  # folder of the short training runs, inside the training's
FIRST_STEPS = 4  # of the first one
PACE_STEPS = 32  # of the second one, where a step is quick: twice the longest interval of a regulariser
PACE_SHARE = 0.2  # of the minutes: the longest that the second one may take
TICK_SHARE = 0.25  # of the minutes: the longest that samples, checkpoints and measuring may take
FEWEST_TICK_STEPS, MOST_TICKS = 50, 50


class Offer(NamedTuple):
    """One possible training."""

    settings: GanSettings  # recipe, preset, image size and batch filled in
    shown: int  # real images a step
    cost: int  # proportional to the multiplications of a step

    @property
    def enough(self) -> float:
        """Steps it takes to learn something worth seeing."""
        side = self.settings.image_size or REFERENCE_SIDE
        return max(ENOUGH_STEPS, ENOUGH_IMAGES / self.shown) * max(1.0, side / REFERENCE_SIDE)

    @property
    def least(self) -> int:
        """Steps during which it draws only noise."""
        return max(LEAST_STEPS, math.ceil(LEAST_IMAGES / self.shown))

    def __str__(self) -> str:
        own = self.settings
        preset = "" if own.preset == PUBLISHED else f":{own.preset}"
        return f"{own.recipe}{preset} at {own.image_size}x{own.image_size}, batches of {own.batch}"


def with_recipe(settings: GanSettings) -> GanSettings:
    """Fill in a recipe that learns in minutes if none is given, one with the given preset if possible."""
    if settings.recipe:
        return settings
    known = (_WITH_FEATURES,) if settings.features else _RECIPES
    having = [name for name in known if settings.preset in ("", PUBLISHED, *RECIPES[name].presets)]
    return dataclasses.replace(settings, recipe=(having or known)[0])


def smallest(settings: GanSettings) -> GanSettings:
    """Return the settings with their smallest preset and image size, if these are left open."""
    preset, size = settings.preset or _presets(settings)[0], settings.image_size or IMAGE_SIZES[0]
    return dataclasses.replace(settings, preset=preset, image_size=size)


def _presets(settings: GanSettings) -> tuple[str, ...]:
    return (*[name for name in _SMALL_PRESETS if name in find_recipe(settings.recipe).presets], PUBLISHED)


def list_offers(settings: GanSettings, images: TrainingSet, pretrained: Pretrained) -> list[Offer]:
    """Return the possible training runs that the user's choices leave open, cheapest first.

    The settings have a recipe; preset, image size and batch are the user's or empty. Images may have any size.

    Raises:
        SonoforgeError: There is none.
    """
    offers, refused = [], None
    for preset in (settings.preset,) if settings.preset else _presets(settings):
        named = dataclasses.replace(settings, preset=preset)
        try:
            sizes = [side for side in IMAGE_SIZES if side <= compose(named).image_size]
        except SonoforgeError as error:
            refused = error
            continue
        for side in (settings.image_size,) if settings.image_size else sizes:
            sized = dataclasses.replace(named, image_size=side)
            for batch in (settings.batch,) if settings.batch else _batches(sized, len(images) * settings.expand):
                try:
                    offers.append(_offer(dataclasses.replace(sized, batch=batch), images, pretrained))
                except SonoforgeError as error:
                    refused = error
    if not offers:
        raise refused or SonoforgeError(f"image_size: {settings.recipe} cannot be trained at any")
    return sorted(offers, key=lambda offer: offer.cost)


def _batches(settings: GanSettings, images: int) -> list[int]:
    """Return the recipe's batch, but at most half of the images, and a small one."""
    published = compose(settings).budget_for(settings.class_name).batch
    most = min(published, 2 ** int(math.log2(max(2, images / 2))))
    return sorted({min(most, _SMALL_BATCH), most})


def _offer(settings: GanSettings, images: TrainingSet, pretrained: Pretrained) -> Offer:
    recipe, plan = compose(settings), make_plan(settings, len(images) * settings.expand)
    seen = None if pretrained.features is None else Seen(pretrained.features, images.image_channels)
    networks = outline_networks(recipe, options_of_generator(images, recipe, plan), seen)
    weights = sum(weight.numel() for network in networks for weight in network.parameters())
    shown = plan.batch * recipe.n_critic
    return Offer(settings, shown, weights * shown * plan.image_size**2)


def choose(
    minutes: float, offers: Sequence[Offer], pace: Callable[[Offer, float], float], spent: Callable[[], float]
) -> Offer:
    """Return the largest offer that learns enough within the minutes, or else the cheapest.

    Args:
        minutes: Minutes of training.
        offers: From `list_offers`.
        pace: Measures an offer's seconds per step, stopping after a number of seconds.
        spent: Returns the seconds spent on measuring so far.

    Raises:
        SonoforgeError: None can learn anything in that time.
    """
    total = 60 * minutes
    limit = PROBE_SHARE * total
    chosen, seconds = offers[0], pace(offers[0], limit)
    left = list(offers[1:])  # between the chosen one and the cheapest one known to be too slow
    for _ in range(PROBES - 1):
        predicted = seconds / chosen.cost
        hopeful = [offer for offer in left if total / (predicted * offer.cost) * _HOPE >= offer.enough]
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
    fixed += ["gan.batch"] if min(each.settings.batch or 0 for each in offers) > _SMALL_BATCH else []
    return (
        f"minutes: {minutes:g} is too short for {offer}, where a step takes {seconds:.2g} s on this machine: before at "
        f"least {offer.least} steps a generator draws noise; give --minutes {needed:g} or more"
        + (f", or leave {' and '.join(fixed)} to be chosen" if fixed else "")
    )


def seconds_a_step(training: Training, limit: float) -> float:
    """Time a few steps of a training run, without its records; start none after ``limit`` seconds."""
    training = training.of_length(_LAST_STEP)
    state = build_state(training)
    real = prepare_data(state, training)
    times: list[float] = []
    with deterministic_kernels(state.device):
        for step in range(_LAST_STEP - PROBE_STEPS, _LAST_STEP):
            began = time.monotonic()
            train_step(state, training, real, step)
            if state.device.type == "cuda":
                torch.cuda.synchronize(state.device)
            times.append(time.monotonic() - began)
            if sum(times) > limit:
                break
    return min(times[1:] or times)


class Pace(NamedTuple):
    """The time that a training run takes on this machine."""

    step: float  # seconds
    tick: float  # seconds for samples, checkpoint and measuring at the end of a tick

    def fit(self, seconds: float, settings: GanSettings) -> dict[str, int]:
        """Return the ``steps`` that fit into this many seconds with their ticks, and ``tick_steps``."""
        ticks = min(MOST_TICKS, max(1, int(TICK_SHARE * seconds / self.tick)))
        steps = max(1, int((seconds - min(ticks * self.tick, TICK_SHARE * seconds)) / self.step))
        return {"steps": steps, "tick_steps": settings.tick_steps or max(FEWEST_TICK_STEPS, math.ceil(steps / ticks))}


def measure_pace(minutes: float, training: Training, folder: Path, stop: Callable[[], bool]) -> Pace | None:
    """Measure the pace of a training run by short ones, each through the whole schedule and all resolutions.

    With the same folder, the answer is the same, even on a faster machine; it is None if ``stop``, see
    `engine.train_gan`, ended one. The second takes at most a share of the ``minutes``.
    """
    log.info("measuring the pace of %s", training.settings.recipe)
    training = dataclasses.replace(training, milestones=())
    step = tick = 0.0
    for count in (FIRST_STEPS, PACE_STEPS):
        own = folder / PACE / f"{count}-steps"
        with quietly(__package__):
            train_gan(training.of_length(count), own, resume=True, show_progress=True, stop=stop)
        if not run_folder.is_finished(own):
            return None
        hours = training_cost(own, count)["hours"]
        if not hours:
            raise SonoforgeError(f"{own}: its steps took no time; remove the folder to measure it again")
        step = hours * 3600 / count
        tick = max(1e-3, read_stats(own, count)[-1]["elapsed_seconds"] - hours * 3600)
        if step * PACE_STEPS > PACE_SHARE * 60 * minutes:
            break
    return Pace(step, tick)


@contextlib.contextmanager
def quietly(name: str | None) -> Iterator[None]:
    """Silence a package's log except for errors: these training runs are too short to learn."""
    trainings = logging.getLogger(name)
    level = trainings.level
    trainings.setLevel(logging.ERROR)
    try:
        yield
    finally:
        trainings.setLevel(level)
