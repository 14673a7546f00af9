"""The one loop that trains every GAN recipe.

Each step's images, latents and augmentation are drawn from (seed, purpose, step) alone, so a run
continued from a checkpoint repeats what the uninterrupted run would have done; on a CPU with one thread
(``OMP_NUM_THREADS=1``) and the same versions, bit for bit.  With more threads no two runs promise the same last bits:
torch's matrix library makes no such promise, and ``tests/benchmarks/repeat_training.py`` counts how often they differ.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from sonoforge.training import run_folder
from sonoforge.training.data.pixels import to_tensor
from sonoforge.training.devices import deterministic_kernels, open_fabric
from sonoforge.training.gan.augmentations.affine import AffineRanges
from sonoforge.training.gan.augmentations.blurring import blur_sigma
from sonoforge.training.gan.batches.sampling import DeviceImages, Sampling
from sonoforge.training.gan.batches.training_set import TrainingSet
from sonoforge.training.gan.distributed.processes import any_process, average_styles
from sonoforge.training.gan.ema import ema_decay, update_average
from sonoforge.training.gan.job import GanJob
from sonoforge.training.gan.optimisers import set_learning_rate
from sonoforge.training.gan.options import PRECISIONS
from sonoforge.training.gan.progress.recorder import Recorder
from sonoforge.training.gan.schedules import SCHEDULES, growing_stage
from sonoforge.training.gan.setup import TrainingSetup, log_setup, newest_checkpoint, set_up
from sonoforge.training.gan.state import TrainingState, build_state
from sonoforge.training.gan.updates import draw_batch, update_carried, update_discriminator, update_generator

log = logging.getLogger(__name__)

POLL_STEPS = 16  # with several processes, steps between two checks whether to stop: each makes a GPU wait


def train_gan(
    images: TrainingSet,
    job: GanJob,
    folder: Path,
    *,
    resume: bool = False,
    show_progress: bool = False,
    stop: Callable[[], bool] = lambda: False,
) -> Path:
    """Train one GAN and return the folder of its newest checkpoint.

    Writes what `recorder.Recorder` lists.  Called again on a finished training of the same images and settings, it
    returns at once.

    Args:
        images: What to learn, at the size of the plan; the share ``held_out`` of them is only measured against.
        job: What to train and for how long.
        folder: Made if missing.
        resume: Continue from the newest checkpoint in ``folder``, if there is one.
        show_progress: Show a progress bar on stderr; else a log line now and then.
        stop: Called after each step; once it returns True, the tick is closed, saved, and the function returns,
            without ``results.json``, as the training is not over.  At each of the job's milestones the same happens.

    Raises:
        SonoforgeError: Bad settings, or ``folder`` holds another training.
        GateError: A loss or a weight is no longer a finite number; the last good checkpoint is kept.
    """
    # What to train, and where an earlier run stopped.
    setup = set_up(images, job)
    newest = newest_checkpoint(folder, setup, resume=resume)
    if newest is not None and run_folder.is_finished(folder):
        log.info("%s: already trained", folder)
        return newest
    log_setup(setup)

    # Networks, optimisers, loss.
    settings, recipe, plan = setup.settings, setup.recipe, setup.plan
    fabric = open_fabric(job.device, PRECISIONS[settings.precision])
    fabric.launch()
    state = build_state(fabric, setup, None if newest else setup.job.start_from)
    start = state.restore(newest) if newest else 0

    # Data.
    labels = setup.images.labels if setup.conditional else None
    real = DeviceImages(to_tensor(setup.images.pixels).to(fabric.device), labels, setup.images.image_channels)
    affine = AffineRanges() if settings.affine else None
    sampling = Sampling(plan.batch, settings.seed, settings.balanced, recipe.mirror, affine)

    # The loop.
    interrupted = False
    recorder = Recorder(folder, setup, state, newest, show_progress=show_progress)
    with deterministic_kernels(fabric.device), recorder:
        for step in range(start, plan.steps):
            _follow_schedules(state, setup, step)

            # The discriminator's turns, then the generator's, against the images of the last turn.
            for turn in range(recipe.n_critic):
                batch = draw_batch(state, real, sampling, step * recipe.n_critic + turn)
                keep = turn == recipe.n_critic - 1 and settings.accumulate == 1
                fakes, scalars = update_discriminator(state, batch, keep=keep)
            scalars |= update_generator(state, batch, fakes if keep else [], step)

            # The averaged generator, and what loss and augmentation carry along.
            average_styles(fabric, state.generator)
            decay = ema_decay(plan.batch, step * plan.batch, recipe.ema_half_life)
            update_average(state.average, state.generator, decay)
            done = step + 1
            update_carried(state, scalars, done, setup.images_per_step)

            # Statistics, samples, checkpoint.
            poll = done < plan.steps and (fabric.world_size == 1 or done % POLL_STEPS == 0)
            pauses = done < plan.steps and done in job.milestones
            interrupted = pauses or (poll and any_process(fabric, stop()))
            recorder.add(done, scalars, interrupted=interrupted)
            if interrupted or recorder.stalled:
                break
    return recorder.finish(interrupted=interrupted)


def _follow_schedules(state: TrainingState, setup: TrainingSetup, step: int) -> None:
    """Set learning rates, blur and resolution for this step."""
    progress = step / setup.plan.steps
    for optimiser in (state.generator_optimiser, state.discriminator_optimiser):
        set_learning_rate(optimiser, SCHEDULES[setup.recipe.schedule](progress))
    state.blur_sigma = blur_sigma(step * setup.images_per_step, setup.recipe.blur)
    if setup.recipe.growing:
        stage = growing_stage(progress, setup.plan.image_size, state.generator.base)  # type: ignore[arg-type]
        for network in (state.generator, state.discriminator, state.average):
            network.set_stage(*stage)  # type: ignore[operator]
