"""``sonoforge gan train``: train one generator on one class of a data set, in a run folder of its own."""

from __future__ import annotations

import dataclasses
import logging
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sonoforge.runtime.commandline import Outcome, closest, option
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training import run_folder
from sonoforge.training.data.cache import open_cache
from sonoforge.training.data.datasets import read_dataset
from sonoforge.training.devices import open_fabric
from sonoforge.training.gan.draws import data_fingerprint
from sonoforge.training.gan.engine import train_gan
from sonoforge.training.gan.images import Pixels
from sonoforge.training.gan.recipes import RECIPES
from sonoforge.training.gan.settings import GanSettings, make_plan
from sonoforge.training.phantom import dataset as phantom
from sonoforge.training.progress import someone_watches

log = logging.getLogger(__name__)

CACHED_SIZE = 224  # the classifier's size, so that one cache serves both
PHANTOM_IMAGES = 400  # in all classes; always the same set, whatever the training's seed

EXAMPLES = """
sonoforge gan train --data BUSI --class-name malignant          the thesis' budget: hours on a CPU
sonoforge gan train --data BUSI --class-name normal --image-size 64 --epochs 200
sonoforge gan train --class-name benign --image-size 64 --steps 500    on the built-in phantom set
sonoforge gan train --data BUSI --class-name malignant --resume  continue where a stopped run was
"""


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of ``sonoforge gan train``."""

    data: str = option("phantom", help="folder of labelled images, or phantom: the built-in simulated set")
    class_name: str = option("", help="class to learn, for example malignant")
    recipe: str = option("dcgan-thesis", help="see sonoforge gan recipes", choices=tuple(RECIPES))
    epochs: float | None = option(None, help="passes over the images (default: the recipe's)", minimum=0.001)
    steps: int | None = option(None, help="optimiser steps, instead of epochs", minimum=1)
    batch: int | None = option(None, help="images a step (default: the recipe's)", minimum=2)
    image_size: int = option(224, help="side in pixels, a multiple of 8", minimum=16, maximum=1024)
    channels: str = option("auto", help="auto: 1 if at least 90 % of the images are grey", choices=("auto", "1", "3"))
    learning_rate: float | None = option(None, help="of both networks (default: the recipe's)", minimum=1e-9)
    tick_steps: int | None = option(None, help="steps between samples and checkpoints (default: 50 a run)", minimum=1)
    seed: int = option(0, help="of weights, order, latents and samples", minimum=0)
    device: str = option("auto", help="auto, cpu, cuda or cuda:N")
    out: str = option("runs", help="folder for run folders")
    resume: bool = option(False, help="continue the newest run with the same settings, if there is one")


def main(config: Config) -> Outcome:
    """Train, or continue, or report that it is done.

    Raises:
        SonoforgeError: Bad settings or data.
        GateError: The training produced numbers that are not finite.
    """
    settings = GanSettings(
        recipe=config.recipe,
        class_name=config.class_name,
        epochs=config.epochs,
        steps=config.steps,
        batch=config.batch,
        image_size=config.image_size,
        channels=config.channels,
        learning_rate=config.learning_rate,
        seed=config.seed,
        tick_steps=config.tick_steps,
    )
    device = open_fabric(config.device).device
    name, images = _read_class(config)
    make_plan(settings, len(images))  # refuses bad settings before a folder is made
    slug = re.sub(r"[^a-z0-9]+", "-", f"gan-{config.recipe}-{name}-{config.class_name}".lower()).strip("-")
    folder = run_folder.open_run(Path(config.out), slug, dataclasses.asdict(config), resume=config.resume)
    with run_folder.log_to(folder):
        run_folder.write_environment(
            folder, run_folder.describe_environment(_device_name(device), config.seed, data_fingerprint(images))
        )
        checkpoint = train_gan(
            images, settings, folder, config.device, resume=config.resume, show_progress=someone_watches()
        )
    results = run_folder.read_results(folder)
    log.info("samples: %s", folder / "samples")
    result: dict[str, Any] = {"run": str(folder), **results, "checkpoint": str(checkpoint)}
    return Outcome(result, f"sonoforge gan sample {folder} --count 64")


def _read_class(config: Config) -> tuple[str, Pixels]:
    """Return the data set's name and the images (N, S, S, C) of the class."""
    if config.data == "phantom":
        label = _find_class(config.class_name, phantom.CLASSES)
        pictures = phantom.generate_phantom_set(PHANTOM_IMAGES, seed=0, size=CACHED_SIZE)
        return "phantom", np.stack([picture.pixels[..., None] for picture in pictures if picture.label == label])
    dataset = read_dataset(Path(config.data))
    label = _find_class(config.class_name, dataset.classes)
    cache = open_cache(dataset, size=max(CACHED_SIZE, config.image_size))
    return dataset.name, cache.images[cache.dataset.labels == label]


def _find_class(name: str, classes: tuple[str, ...]) -> int:
    if name in classes:
        return classes.index(name)
    found = f"found {name!r}" if name else "missing"
    raise SonoforgeError(f"--class-name: {found}, expected one of {', '.join(classes)}{closest(name, classes)}")


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"cpu ({torch.get_num_threads()} of {os.cpu_count()} cores)"
