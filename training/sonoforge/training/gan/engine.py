"""The one loop that trains every GAN recipe.

Each step's images, latents and augmentation are drawn from (seed, purpose, step) alone, so a run continued from a
checkpoint repeats the uninterrupted run; on a CPU with one thread (``OMP_NUM_THREADS=1``) and the same versions bit for
bit.  With more threads torch's matrix library does not promise the same last bits:
``training/studies/repeatability`` counts how often they differ.
"""

import json
import logging
from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training import run_folder
from sonoforge.training.data.pixels import to_tensor
from sonoforge.training.data.split_plan import check_unchanged
from sonoforge.training.devices import deterministic_kernels, open_fabric
from sonoforge.training.gan import checkpoint as gan_checkpoint
from sonoforge.training.gan.distributed import any_process, average_styles
from sonoforge.training.gan.networks import discriminator_of
from sonoforge.training.gan.optimisers import ema_decay, set_learning_rate, update_average
from sonoforge.training.gan.options import PRECISIONS
from sonoforge.training.gan.progress.recorder import Recorder
from sonoforge.training.gan.recipes import SCHEDULES, growing_stage
from sonoforge.training.gan.sampling import AffineRanges, DeviceImages, Sampling
from sonoforge.training.gan.settings import DURATIONS, NOT_COMPARED
from sonoforge.training.gan.state import TrainingState, build_state
from sonoforge.training.gan.training import Training
from sonoforge.training.gan.updates import (
    blur_sigma,
    draw_batch,
    update_carried,
    update_discriminator,
    update_generator,
)

log = logging.getLogger(__name__)

POLL_STEPS = 16  # with several processes, steps between two stop checks: each makes a GPU wait


def train_gan(
    training: Training,
    folder: Path,
    *,
    resume: bool = False,
    show_progress: bool = False,
    stop: Callable[[], bool] = lambda: False,
) -> Path:
    """Train one GAN and return the folder of its newest checkpoint.

    Writes the files that `recorder.Recorder` lists.  Called again on a finished training of the same images and
    settings, it returns at once.

    Args:
        training: From `training.prepare`.
        folder: Made if missing.
        resume: Continue from the newest checkpoint in ``folder``, if there is one, even of a shorter training.
        show_progress: Show a progress bar on stderr; else a log line now and then.
        stop: Called after each step; once it returns True, the current tick is closed and saved, and the function
            returns without ``results.json``, as it does at each of the training's milestones.

    Raises:
        SonoforgeError: ``folder`` holds another training.
        GateError: A loss or a weight is no longer finite; the last good checkpoint is kept.
    """
    newest = newest_checkpoint(folder, training, resume=resume)
    longer = newest is not None and _is_longer(training, gan_checkpoint.describe(newest))
    if newest is not None and run_folder.is_finished(folder) and not longer:
        log.info("%s: already trained", folder)
        return newest
    _log_training(training)
    settings, plan = training.settings, training.plan
    fabric = open_fabric(training.device, PRECISIONS[settings.precision])
    fabric.launch()
    state = build_state(fabric, training, newest)
    start = gan_checkpoint.describe(newest).step if newest else 0
    if longer:
        schedule, factor = training.recipe.schedule, SCHEDULES[training.recipe.schedule](start / plan.steps)
        how = "as an uninterrupted training of that length does"
        if schedule != "constant":
            how = (
                f"but schedule {schedule} depends on the length: the learning rates continue at {factor:.3g} of the "
                "full ones, so the result differs from an uninterrupted training of that length"
            )
        log.info("longer than before: from step %d to %d, %s", start, plan.steps, how)
    real, sampling = prepare_data(state, training)

    interrupted = False
    recorder = Recorder(folder, training, state, newest, show_progress=show_progress)
    with deterministic_kernels(fabric.device), recorder:
        for step in range(start, plan.steps):
            scalars = train_step(state, training, real, sampling, step)
            done = step + 1

            poll = done < plan.steps and (fabric.world_size == 1 or done % POLL_STEPS == 0)
            pauses = done < plan.steps and done in training.milestones
            interrupted = pauses or (poll and any_process(fabric, stop()))
            recorder.add(done, scalars, interrupted=interrupted)
            if interrupted or recorder.stalled:
                break
    return recorder.finish(interrupted=interrupted)


def prepare_data(state: TrainingState, training: Training) -> tuple[DeviceImages, Sampling]:
    """Move the images to the device; return them and how steps draw from them."""
    images, settings = training.images, training.settings
    labels = images.labels if training.conditional else None
    real = DeviceImages(to_tensor(images.pixels).to(state.fabric.device), labels, images.image_channels)
    affine = AffineRanges() if settings.affine else None
    return real, Sampling(training.plan.batch, settings.seed, settings.balanced, training.recipe.mirror, affine)


def train_step(
    state: TrainingState, training: Training, real: DeviceImages, sampling: Sampling, step: int
) -> dict[str, Tensor]:
    """Train one step; return its measurements by name."""
    recipe, plan = training.recipe, training.plan
    progress = step / plan.steps
    for optimiser in (state.generator_optimiser, state.discriminator_optimiser):
        set_learning_rate(optimiser, SCHEDULES[recipe.schedule](progress))
    state.blur_sigma = blur_sigma(step * training.images_per_step, recipe.blur)
    if recipe.growing:
        stage = growing_stage(progress, plan.image_size, state.generator.base)  # type: ignore[arg-type]
        for network in (state.generator, state.discriminator, state.average):
            network.set_stage(*stage)  # type: ignore[operator]

    # The discriminator's turns, then the generator's, against the images of the last turn.
    for turn in range(recipe.n_critic):
        batch = draw_batch(state, real, sampling, step * recipe.n_critic + turn)
        keep = turn == recipe.n_critic - 1 and training.settings.accumulate == 1
        fakes, scalars = update_discriminator(state, batch, keep=keep)
    scalars |= update_generator(state, batch, fakes if keep else [], step)

    average_styles(state.fabric, state.generator)
    decay = ema_decay(plan.batch, step * plan.batch, recipe.ema_half_life)
    update_average(state.average, state.generator, decay)
    update_carried(state, scalars, step + 1, training.images_per_step)
    return scalars


def newest_checkpoint(folder: Path, training: Training, *, resume: bool) -> Path | None:
    """Return the newest checkpoint of an earlier call in the folder, or None.

    Raises:
        SonoforgeError: The folder holds another training; or this one, unfinished without ``resume``, or shorter and
            impossible to make longer.
    """
    found = gan_checkpoint.list_checkpoints(folder / "checkpoints")
    if not found:
        return None
    if training.originals.sources:
        path = folder / gan_checkpoint.SOURCES
        try:
            sources = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise SonoforgeError(
                f"{path}: cannot be read ({error}), so the images of this training are unknown; leave out --resume to "
                "start again"
            ) from error
        check_unchanged(str(folder), sources, training.originals.sources)
    before, now = gan_checkpoint.describe(found[-1]), training.description
    keys = [key for key in now.settings if before.settings.get(key) != now.settings[key] and key not in NOT_COMPARED]
    if resume and keys and _is_longer(training, before):
        if training.recipe.growing:
            raise SonoforgeError(
                f"{folder}: holds a shorter training, whose resolution grew over its own length: it cannot be made "
                "longer; leave out --resume to start again"
            )
        keys = [key for key in keys if key not in DURATIONS]
    if keys:
        changed = ", ".join(f"{key} was {before.settings.get(key)!r}, is {now.settings[key]!r}" for key in keys)
        raise SonoforgeError(f"{folder}: holds a training with other settings ({changed}); choose another folder")
    if before.fingerprint != now.fingerprint:
        raise SonoforgeError(f"{folder}: holds a training on other images, or masks; choose another folder")
    if not resume and not run_folder.is_finished(folder):
        raise SonoforgeError(f"{folder}: holds an unfinished training; resume it or choose another folder")
    return found[-1]


def _is_longer(training: Training, before: gan_checkpoint.Description) -> bool:
    """Whether a training is of another length than a checkpoint's, which lies before its end."""
    lengths = {name: getattr(training.settings, name) for name in DURATIONS}
    return lengths != {name: before.settings.get(name) for name in DURATIONS} and before.step < training.plan.steps


def _log_training(training: Training) -> None:
    settings, recipe, plan = training.settings, training.recipe, training.plan
    count, height, width, channels = training.images.pixels.shape
    turns = f"{recipe.n_critic} x " if recipe.n_critic > 1 else ""
    log.info(
        "training %s on %d images at %dx%dx%d: %d steps of %s%d images (%.3g epochs), learning rates %g and %g",
        settings.recipe, count, height, width, channels, plan.steps, turns, plan.batch,
        plan.steps * training.images_per_step / count,
        recipe.generator_optimiser.learning_rate, recipe.discriminator_optimiser.learning_rate,
    )  # fmt: skip
    own = training.pretrained
    features, space, start_from = own.features, own.space, own.start_from
    projected = discriminator_of(recipe).projected
    if features is not None and (projected or recipe.perceptual_weight):
        log.info("feature network: %s", features.name)
        kind = features.name.partition(" ")[0]  # the bundle's classifier began as a MobileNetV2
        if (
            projected
            and space is not None
            and (kind in space.name or (space.name.startswith("bundle") and kind == "mobilenet_v2"))
        ):
            log.warning(
                "the metrics are measured in %s, and the discriminator sees images through %s, which flatters them; "
                "gan.metric_features names another space", space.short_name, kind,
            )  # fmt: skip
    if settings.freeze_generator and start_from is None:
        log.warning("blocks of the generator are frozen at their random initial weights: they learn nothing")
    if settings.freeze_discriminator and start_from is None:
        log.warning("blocks of the discriminator are frozen at their random initial weights: they learn nothing")
