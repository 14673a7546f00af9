"""``sonoforge gan train``: train one generator, of one class or of all, in a run folder of its own."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from sonoforge.runtime.cli.options import Outcome, option
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training import run_folder
from sonoforge.training.devices import open_fabric
from sonoforge.training.gan import checkpoint as gan_checkpoint
from sonoforge.training.gan.augmentations import AUGMENTATIONS
from sonoforge.training.gan.batches.training_set import TrainingSet, hold_out, read_training_set
from sonoforge.training.gan.engine import network_options, train_gan
from sonoforge.training.gan.networks import outline_networks
from sonoforge.training.gan.objectives.conditioning import CONDITIONINGS
from sonoforge.training.gan.objectives.losses import LOSSES
from sonoforge.training.gan.progress.curves import PICTURE
from sonoforge.training.gan.progress.tick_metrics import METRICS, FeatureSpace, PerceptualSpace
from sonoforge.training.gan.recipes import RECIPES
from sonoforge.training.gan.schedules import SCHEDULES
from sonoforge.training.gan.settings import PRECISIONS, GanSettings, compose, make_plan
from sonoforge.training.gan.starting_weights import read_starting_weights
from sonoforge.training.gan.transfer import check_transfer
from sonoforge.training.metrics.features import Features, open_features
from sonoforge.training.metrics.spaces import open_space
from sonoforge.training.progress import is_interactive

log = logging.getLogger(__name__)

# Needs neither a download nor torch.  It learned from BUSI, so its distances are no neutral figures there; but it has
# seen no generator's images, and the checkpoints of one training may be compared in it.
DEFAULT_SPACE = "bundle"
HELD_OUT_SHARE = 0.1

EXAMPLES = """
sonoforge gan train --data BUSI --class-name malignant          the thesis' budget: hours on a CPU
sonoforge gan train --data BUSI --class-name normal --recipe wgan-gp --image-size 64 --epochs 200
sonoforge gan train --class-name benign --recipe dcgan --kimg 20 --augmentation ada    on the built-in phantom set
sonoforge gan train --recipe lsgan --conditioning projection    all classes in one generator
sonoforge gan train --data BUSI --class-name malignant --recipe dgan-wp-tl-wgangp --features vgg16
sonoforge gan train --data BUSI --class-name malignant --metrics kid,fid --metric-features inception --every 5
sonoforge gan train --recipe stylegan3-t --data BUSI --class malignant --size 512    hours on a GPU
sonoforge gan train --recipe stylegan2 --data BUSI --class malignant --start-from runs/00001-gan-stylegan2-busi-benign
sonoforge gan train --recipe stylegan2 --data BUSI --start-from ffhq.safetensors --freeze-discriminator 4 --class normal
sonoforge gan train --data BUSI --class-name malignant --resume  continue where a stopped run was
torchrun --nproc-per-node 4 -m sonoforge.runtime.cli.main gan train --data BUSI --class-name malignant

Ctrl-C closes the current tick, saves, and ends with exit code 0; a second one stops at once.
"""


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of ``sonoforge gan train``; what is left out is as the recipe has it."""

    data: str = option("phantom", help="folder of labelled images, or phantom: the built-in simulated set")
    class_name: str = option(
        "", help="class to learn, for example malignant; left out with --conditioning", aliases=("class",)
    )
    recipe: str = option("dcgan-thesis", help="see sonoforge gan recipes", choices=tuple(RECIPES))
    preset: str = option("paper", help="paper, or small-data for the style-based: see sonoforge gan recipes NAME")
    epochs: float | None = option(None, help="passes over the images", limits=(0.001, None))
    steps: int | None = option(None, help="generator updates, instead of epochs", limits=(1, None))
    kimg: float | None = option(None, help="thousands of real images shown, instead of epochs", limits=(0.001, None))
    minutes: float | None = option(None, help="stop and save after so long; --resume goes on", limits=(0.001, None))
    stop_after: int | None = option(None, help="stop when KID has not fallen for so many measurings", limits=(1, None))
    batch: int | None = option(None, help="images a step", limits=(2, None))
    image_size: int | None = option(
        None, help="side in pixels: 32, 64, 128, 224, 256, 512", limits=(16, 1024), aliases=("size",)
    )
    channels: str = option("auto", help="auto: 1 if at least 90 % of the images are grey", choices=("auto", "1", "3"))
    masks: bool = option(False, help="train images and their masks jointly")
    mirror: bool = option(False, help="double the images by left-right flips")
    affine: bool = option(False, help="turn, scale, shift and shear every image shown, a little and at random")
    expand: int = option(
        1, help="images for each image, made by affine distortion once (7: Berezsky 2024)", limits=(1, None)
    )
    balanced: bool = option(False, help="show every class equally often")
    conditioning: str | None = option(None, help="one generator for all classes, told by label", choices=CONDITIONINGS)
    loss: str | None = option(None, help="adversarial loss", choices=tuple(LOSSES))
    regularisers: str | None = option(None, help="none, or NAME=WEIGHT:EVERY,... such as r1=10:16")
    augmentation: str | None = option(None, help="what the discriminator sees", choices=tuple(AUGMENTATIONS))
    perceptual_weight: float | None = option(None, help="lambda of the perceptual term", limits=(0, None))
    features: str = option("", help="network of the perceptual term: .safetensors file or vgg16", metavar="NET")
    metrics: tuple[str, ...] = option(
        ("kid",), help="measured while training, comma-separated; KID chooses the best", choices=(*METRICS, "none")
    )
    every: int = option(
        1, help="ticks from one measuring to the next; the last tick is always measured", limits=(1, None)
    )
    metric_features: str = option(
        "",
        help="feature space of the metrics, such as inception, mobilenetv2-imagenet, bundle or pixels "
        "(default: the network of --features, else bundle: the shipped one)",
        metavar="SPACE",
    )
    metric_weights: str = option("", help="weights file of that space, instead of a download", metavar="FILE")
    held_out: float | None = option(
        None,
        help="share of the images that is not trained on but measured against (default: 0.1 where that is enough; "
        "0: none, the metrics are measured against the training images)",
        limits=(0, 0.5),
    )
    n_critic: int | None = option(None, help="discriminator updates for each of the generator", limits=(1, None))
    learning_rate: float | None = option(None, help="of both networks", limits=(1e-9, None))
    discriminator_learning_rate: float | None = option(None, help="of the discriminator alone", limits=(1e-9, None))
    schedule: str | None = option(None, help="of the learning rates", choices=tuple(SCHEDULES))
    width: int | None = option(None, help="maps of the base layer, for smaller or larger networks", limits=(1, None))
    start_from: str = option(
        "",
        help="start with the weights of a run or checkpoint of the same architecture, of any size, or of a "
        ".safetensors or .npz file with the official networks' tensors, named G/... and D/...",
        metavar="CHECKPOINT",
    )
    freeze_discriminator: int = option(
        0, help="blocks of the discriminator, those nearest the image, that stay as they start", limits=(0, None)
    )
    precision: str = option("fp32", help="arithmetic: bf16 and fp16 are mixed", choices=tuple(PRECISIONS))
    accumulate: int = option(1, help="parts a batch is computed in, to save memory", limits=(1, None))
    compile: bool = option(False, help="compile the networks (torch.compile)")
    tick_steps: int | None = option(
        None, help="steps between samples and checkpoints (default: 50 a run)", limits=(1, None)
    )
    keep: int = option(2, help="newest checkpoints kept, beside the best", limits=(1, None))
    seed: int = option(0, help="of weights, order, latents and samples", limits=(0, None))
    device: str = option("auto", help="auto, cpu, cuda or cuda:N")
    cache: str = option("", help="folder of decoded images (default: SONOFORGE_CACHE or ~/.cache/sonoforge)")
    out: str = option("runs", help="folder for run folders")
    resume: bool = option(False, help="continue the newest run with the same settings, if there is one")


def main(config: Config) -> Outcome:
    """Train, or continue, or report that it is done.

    Raises:
        SonoforgeError: Bad settings or data.
        GateError: The training produced numbers that are not finite.
    """
    fabric = open_fabric(config.device, PRECISIONS[config.precision])
    features = open_features(config.features, fabric.device) if config.features else None
    space = open_metric_space(config, features, fabric.device)
    start_from = read_starting_weights(Path(config.start_from)) if config.start_from else None
    settings = dataclasses.replace(
        training_settings(config, features, space), start_from=start_from.name if start_from else ""
    )
    images = read_images(config, settings)
    settings = dataclasses.replace(settings, held_out=held_out_share(config, settings, images))
    kept, _ = hold_out(images, settings.held_out, settings.seed)
    # This and the next refuse bad settings before a folder is made.
    plan = make_plan(settings, len(kept) * config.expand)
    options = network_options(images, compose(settings), plan, config.accumulate)
    recipe = compose(settings)
    check_transfer(start_from, config.freeze_discriminator, recipe.architecture, outline_networks(recipe, options))
    fabric.launch()
    if not fabric.is_global_zero:
        logging.getLogger("sonoforge").setLevel(logging.WARNING)  # the first process speaks for all
    slug = re.sub(r"[^a-z0-9]+", "-", f"gan-{config.recipe}-{images.name}-{config.class_name}".lower()).strip("-")
    opened = ""
    if fabric.is_global_zero:
        opened = str(run_folder.open_run(Path(config.out), slug, dataclasses.asdict(config), resume=config.resume))
    folder = Path(fabric.broadcast(opened))
    deadline = time.monotonic() + 60 * config.minutes if config.minutes else float("inf")
    with contextlib.ExitStack() as stack:
        if fabric.is_global_zero:
            stack.enter_context(run_folder.log_to(folder))
            run_folder.write_environment(
                folder, run_folder.describe_environment(_device_name(fabric.device), config.seed, images.fingerprint)
            )
        interrupted = stack.enter_context(finishing_on_interrupt())
        checkpoint = train_gan(
            images,
            settings,
            folder,
            config.device,
            features=features,
            space=space,
            start_from=start_from,
            resume=config.resume,
            show_progress=is_interactive(),
            stop=lambda: interrupted() or time.monotonic() > deadline,
        )
    finished = run_folder.is_finished(folder)
    best = gan_checkpoint.best_checkpoint(folder / "checkpoints")
    log.info("samples: %s", folder / "samples")
    if settings.metrics:
        log.info("curves: %s   best checkpoint: %s", folder / PICTURE, best.name if best else "none")
    result: dict[str, Any] = {"run": str(folder), "finished": finished, "checkpoint": str(checkpoint)}
    if not finished:
        log.info("stopped before its end; to go on: the same command with --resume")
    results = run_folder.read_results(folder) if finished else {}
    which = "--checkpoint best " if settings.metrics and best else ""
    return Outcome({**results, **result}, f"sonoforge gan sample {folder} {which}--count 64")


def open_metric_space(config: Config, features: Features | None, device: torch.device) -> FeatureSpace | None:
    """Open the feature space of the metrics, or return None where none are measured.

    Raises:
        SonoforgeError: Weights without a space, or see `spaces.open_space`.
    """
    if not wanted_metrics(config):
        return None
    if config.metric_weights and not config.metric_features:
        raise SonoforgeError(
            f"--metric-weights: found {config.metric_weights} without --metric-features; name the space they are of"
        )
    if features is not None and not config.metric_features:
        return PerceptualSpace(features)
    return open_space(config.metric_features or DEFAULT_SPACE, config.metric_weights or None, device)


def wanted_metrics(config: Config) -> tuple[str, ...]:
    """Return the metrics without ``none``."""
    return tuple(name for name in config.metrics if name != "none")


def held_out_share(config: Config, settings: GanSettings, images: TrainingSet) -> float:
    """Return the share to hold out: the one asked for, else a tenth where that leaves enough images on both sides.

    Too few to hold some out is said in the log, and in every row of ``stats.jsonl`` and the results, which call
    their reference ``training``.
    """
    if config.held_out is not None:
        return config.held_out
    if not settings.metrics:
        return 0.0
    try:
        kept, _ = hold_out(images, HELD_OUT_SHARE, settings.seed)
    except SonoforgeError as error:
        reason = str(error)
    else:
        left, batch = len(kept) * config.expand, make_plan(settings, len(kept) * config.expand).batch
        if left >= batch:
            return HELD_OUT_SHARE
        reason = f"it would leave {left} for a batch of {batch}; give --batch {left} or --held-out 0"
    log.warning("nothing is held out, so the metrics are measured against the training images: %s", reason)
    return 0.0


def training_settings(config: Config, features: Features | None, space: FeatureSpace | None) -> GanSettings:
    """Return what determines the training, but for the share held out, which depends on the images."""
    names = {field.name for field in dataclasses.fields(GanSettings)} & {f.name for f in dataclasses.fields(Config)}
    given = {name: getattr(config, name) for name in names}
    return GanSettings(
        **given
        | {
            "features": features.name if features else "",
            "metrics": wanted_metrics(config),
            "metric_features": space.name if space else "",
            "held_out": 0.0,
        }
    )


def read_images(config: Config, settings: GanSettings) -> TrainingSet:
    """Read the class, or all classes where labels tell them apart, at the size of the training."""
    recipe = compose(settings)
    return read_training_set(
        config.data,
        None if recipe.conditioning != "none" else config.class_name,
        settings.image_size or recipe.image_size,
        config.channels,
        masks=config.masks,
        groups=bool(settings.metrics) if config.held_out is None else config.held_out > 0,
        cache_folder=Path(config.cache) if config.cache else None,
    )


@contextlib.contextmanager
def finishing_on_interrupt() -> Iterator[Callable[[], bool]]:
    """Let the first Ctrl-C only be noted while inside, and hand out the function that tells; the second one stops."""
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


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"cpu ({torch.get_num_threads()} of {os.cpu_count()} cores)"
