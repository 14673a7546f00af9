"""The one loop that trains every GAN recipe.

Each step's images, latents and augmentation are drawn from (seed, purpose, step) alone, so a run
continued from a checkpoint repeats exactly what the uninterrupted run would have done; on CPU with
the same versions and number of threads, bit for bit.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import json
import logging
import math
import time
from pathlib import Path
from typing import Any

import torch

from sonoforge.runtime.atomic import write_text
from sonoforge.runtime.errors import GateError, SonoforgeError
from sonoforge.training import run_folder
from sonoforge.training.devices import deterministic_kernels, open_fabric
from sonoforge.training.gan import checkpoint as gan_checkpoint
from sonoforge.training.gan.augmentations import AUGMENTATIONS
from sonoforge.training.gan.diversity import (
    COLLAPSE_FRACTION,
    is_collapsed,
    mean_pairwise_distance,
    sliced_distance,
    thumbnails,
)
from sonoforge.training.gan.draws import batch_indices, data_fingerprint, draw_latents
from sonoforge.training.gan.ema import ema_decay, update_average
from sonoforge.training.gan.images import (
    Pixels,
    choose_channels,
    prepare_images,
    to_pixels,
    to_tensor,
    to_unit,
    write_grid,
)
from sonoforge.training.gan.losses import LOSSES
from sonoforge.training.gan.networks import build_networks, generate, load_generator, sample
from sonoforge.training.gan.optimisers import optimiser_tensors, restore_optimiser
from sonoforge.training.gan.recipes import find_recipe
from sonoforge.training.gan.settings import GanSettings, make_plan
from sonoforge.training.progress import progress_bar
from sonoforge.training.seeds import derive_seed

__all__ = ["GanSettings", "load_generator", "sample", "train_gan"]

log = logging.getLogger(__name__)

GRID = 64  # images in a sample grid, and in the batch whose diversity is measured
REFERENCE = 1024  # real images at most that samples are compared with
SAVE_SECONDS = 300  # between two ticks at most this long without a checkpoint
LOG_SECONDS = 30  # between two lines on the state of the training


def train_gan(  # noqa: PLR0912 - the loop is one story, read top to bottom
    images: Pixels,
    settings: GanSettings,
    folder: Path,
    device: str = "auto",
    *,
    resume: bool = False,
    show_progress: bool = False,
) -> Path:
    """Train one GAN and return the folder of its final checkpoint.

    Writes into ``folder``: ``stats.jsonl`` (one object a tick), ``samples/`` (a grid of the same 64
    latents a tick, and ``real.png``), ``checkpoints/``, and at the end ``results.json``.  Called again
    on a finished training of the same images and settings, it returns at once.

    Args:
        images: (N, H, W, C) uint8, C = 1 or 3, any size; resized here.
        settings: What to train and for how long.
        folder: Made if missing.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        resume: Continue from the newest checkpoint in ``folder``, if there is one.
        show_progress: Show a bar on stderr; else a log line now and then.

    Returns:
        The checkpoint's folder, for `load_generator`.

    Raises:
        SonoforgeError: Bad settings, or ``folder`` holds another training.
        GateError: A loss or a weight is no longer a finite number; the last good checkpoint is kept.
    """
    # Settings and data.
    plan = make_plan(settings, len(images))
    recipe = find_recipe(settings.recipe)
    channels = choose_channels(images, settings.channels)
    prepared = prepare_images(images, settings.image_size, channels)
    fingerprint = data_fingerprint(prepared)
    checkpoints = folder / "checkpoints"
    description = gan_checkpoint.Description(
        step=0,
        recipe=settings.recipe,
        architecture=recipe.architecture,
        image_size=settings.image_size,
        channels=channels,
        latent_size=recipe.latent_size,
        class_name=settings.class_name,
        fingerprint=fingerprint,
        settings=dataclasses.asdict(settings),
    )
    found = gan_checkpoint.list_checkpoints(checkpoints)
    if found:
        _check_same(folder, gan_checkpoint.describe(found[-1]), description)
        if run_folder.is_finished(folder):
            log.info("%s: already trained", folder)
            return found[-1]
        if not resume:
            raise SonoforgeError(f"{folder}: holds an unfinished training; add --resume or choose another folder")
    log.info(
        "training %s on %d images at %dx%dx%d: %d steps of %d images (%.3g epochs), learning rate %g",
        settings.recipe, len(images), settings.image_size, settings.image_size, channels,
        plan.steps, plan.batch, plan.steps * plan.batch / len(images), plan.learning_rate,
    )  # fmt: skip
    if plan.batch > len(images):
        log.info(
            "a batch of %d is larger than the %d images: each batch shows every image at least %d times",
            plan.batch, len(images), plan.batch // len(images),
        )  # fmt: skip

    # Networks, optimisers, loss.
    fabric = open_fabric(device)
    fabric.launch()
    generator_net, discriminator_net = build_networks(settings, channels)
    average = fabric.to_device(copy.deepcopy(generator_net)).eval().requires_grad_(False)
    generator_adam, discriminator_adam = (
        torch.optim.Adam(net.parameters(), lr=plan.learning_rate, betas=recipe.betas, fused=True)
        for net in (fabric.to_device(generator_net), fabric.to_device(discriminator_net))
    )
    generator, generator_optimiser = fabric.setup(generator_net, generator_adam)
    discriminator, discriminator_optimiser = fabric.setup(discriminator_net, discriminator_adam)
    loss = LOSSES[recipe.loss]
    augment = AUGMENTATIONS[recipe.augmentation]

    # Where an earlier run stopped.
    start = 0
    if found:
        start = gan_checkpoint.describe(found[-1]).step
        for stem, net in (("generator", generator_net), ("discriminator", discriminator_net), ("average", average)):
            net.load_state_dict(gan_checkpoint.load_state(found[-1], stem))
        restore_optimiser(generator_adam, gan_checkpoint.load_state(found[-1], "generator_optimiser"))
        restore_optimiser(discriminator_adam, gan_checkpoint.load_state(found[-1], "discriminator_optimiser"))
        log.info("continuing from %s", found[-1])
    stats = _read_stats(folder, start)
    write_text(folder / "stats.jsonl", "".join(json.dumps(row) + "\n" for row in stats))

    # What each tick compares with.
    pixels = to_tensor(prepared)
    reference = torch.linspace(0, len(pixels) - 1, min(len(pixels), REFERENCE)).long()
    real_thumbnails = thumbnails(to_unit(pixels[reference]))
    real_spread = mean_pairwise_distance(real_thumbnails)
    fixed_latents = draw_latents(GRID, recipe.latent_size, settings.seed, "grid").to(fabric.device)
    write_grid(folder / "samples" / "real.png", prepared[:GRID])
    pixels = pixels.to(fabric.device)

    def save(step: int, distance: float | None) -> Path:
        states = {
            "generator": generator_net.state_dict(),
            "discriminator": discriminator_net.state_dict(),
            "average": average.state_dict(),
            "generator_optimiser": optimiser_tensors(generator_adam),
            "discriminator_optimiser": optimiser_tensors(discriminator_adam),
        }
        for stem, state in states.items():
            if not all(bool(value.isfinite().all()) for value in state.values()):
                raise _not_finite(folder, f"{stem} weights", step)
        path = gan_checkpoint.save_checkpoint(
            checkpoints, dataclasses.replace(description, step=step, distance=distance), states
        )
        gan_checkpoint.remove_old(checkpoints, settings.keep)
        return path

    # The loop.
    peak = max((row["diversity"] for row in stats), default=0.0)
    collapsed = bool(stats) and bool(stats[-1]["collapsed"])
    checkpoint = found[-1] if found else checkpoints
    totals = torch.zeros(4, device=fabric.device)
    began = tick_began = saved_at = time.monotonic()
    logged_at = -math.inf
    tick_from = start
    with (
        deterministic_kernels(fabric.device),
        progress_bar(f"{settings.recipe} {settings.class_name}", plan.steps, start, show=show_progress) as advance,
    ):
        for step in range(start, plan.steps):
            indices = torch.from_numpy(batch_indices(len(images), plan.batch, settings.seed, step))
            real = to_unit(pixels[indices.to(fabric.device)])
            latents = draw_latents(plan.batch, recipe.latent_size, settings.seed, "latent", step).to(fabric.device)
            chance = torch.Generator(fabric.device).manual_seed(derive_seed(settings.seed, "augmentation", step))

            # Discriminator: real and generated images in batches of their own, each with its own
            # batch-norm statistics (Radford 2016's code).
            fake = generator(latents)
            real_logits = discriminator(augment(real, chance))
            fake_logits = discriminator(augment(fake.detach(), chance))
            discriminator_loss = loss.discriminator(real_logits, fake_logits)
            discriminator_optimiser.zero_grad()
            fabric.backward(discriminator_loss)
            discriminator_optimiser.step()

            # Generator: against the discriminator just updated, whose own gradients are not needed.
            discriminator_net.requires_grad_(False)
            generator_loss = loss.generator(discriminator(augment(fake, chance)))
            generator_optimiser.zero_grad()
            fabric.backward(generator_loss)
            generator_optimiser.step()
            discriminator_net.requires_grad_(True)
            update_average(average, generator_net, ema_decay(plan.batch, step * plan.batch, recipe.ema_half_life))

            totals += torch.stack([
                discriminator_loss.detach(), generator_loss.detach(),
                real_logits.detach().sigmoid().mean(), fake_logits.detach().sigmoid().mean(),
            ])  # fmt: skip
            done = step + 1
            advance(done, None)
            if done % plan.tick_steps and done < plan.steps:
                if time.monotonic() - saved_at > SAVE_SECONDS:
                    checkpoint = save(done, None)
                    saved_at = time.monotonic()
                continue

            # The tick: what happened since the last one, and how the samples are.
            seconds = (time.monotonic() - tick_began) / (done - tick_from)
            means = (totals / (done - tick_from)).tolist()
            if not all(map(math.isfinite, means)):
                raise _not_finite(folder, "loss", done)
            samples = generate(average, fixed_latents)
            sample_thumbnails = thumbnails(samples).cpu()
            diversity = mean_pairwise_distance(sample_thumbnails) / max(real_spread, 1e-12)
            distance = sliced_distance(sample_thumbnails, real_thumbnails)
            peak = max(peak, diversity)
            was_collapsed, collapsed = collapsed, is_collapsed(diversity, done, plan.steps)
            row: dict[str, Any] = {
                "step": done,
                "images": done * plan.batch,
                "epoch": round(done * plan.batch / len(images), 3),
                "discriminator_loss": means[0],
                "generator_loss": means[1],
                "real_score": means[2],
                "fake_score": means[3],
                "diversity": diversity,
                "distance": distance,
                "collapsed": collapsed,
                "seconds_per_step": seconds,
                "elapsed_seconds": time.monotonic() - began,
            }
            with (folder / "stats.jsonl").open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(row) + "\n")
            write_grid(folder / "samples" / f"step-{done:08d}.png", to_pixels(samples))
            checkpoint = save(done, distance)
            summary = f"D {means[0]:.2f} G {means[1]:.2f} diversity {diversity:.2f} distance {distance:.3f}"
            advance(done, summary)
            if collapsed and not was_collapsed:
                log.warning(
                    "%s: collapse at step %d: the samples' diversity is %.2f of the real images' (limit %.2f), %s",
                    folder, done, diversity, COLLAPSE_FRACTION,
                    f"after {peak:.2f}; try a lower learning rate, for example a fifth"
                    if peak >= COLLAPSE_FRACTION
                    else "and never was higher: the training is too short, or its learning rate too high",
                )  # fmt: skip
            elif was_collapsed and not collapsed:
                log.info("%s: diversity is back at %.2f at step %d", folder, diversity, done)
            if time.monotonic() - logged_at > LOG_SECONDS or done == plan.steps:
                left = (plan.steps - done) * seconds
                log.info("step %d/%d: %s, %.3f s/step, %.0f s left", done, plan.steps, summary, seconds, left)
                logged_at = time.monotonic()
            totals.zero_()
            tick_from, tick_began, saved_at = done, time.monotonic(), time.monotonic()

    stats = _read_stats(folder, plan.steps)
    run_folder.write_results(
        folder,
        {
            "checkpoint": f"checkpoints/{checkpoint.name}",
            "settings": dataclasses.asdict(settings),
            "plan": plan._asdict(),
            "images": len(images),
            "channels": channels,
            "data_fingerprint": fingerprint,
            "last_tick": stats[-1] if stats else None,
            "collapsed": collapsed,
            "ticks_collapsed": sum(bool(row["collapsed"]) for row in stats),
        },
    )
    return checkpoint


def _check_same(folder: Path, before: gan_checkpoint.Description, now: gan_checkpoint.Description) -> None:
    """Refuse to mix two trainings in one folder."""
    if before.settings != now.settings:
        keys = [key for key in now.settings if before.settings.get(key) != now.settings[key]]
        changed = ", ".join(f"{key} was {before.settings.get(key)!r}, is {now.settings[key]!r}" for key in keys)
        raise SonoforgeError(f"{folder}: holds a training with other settings ({changed}); choose another folder")
    if before.fingerprint != now.fingerprint:
        raise SonoforgeError(f"{folder}: holds a training on other images; choose another folder")


def _not_finite(folder: Path, what: str, step: int) -> GateError:
    found = gan_checkpoint.list_checkpoints(folder / "checkpoints")
    kept = f"the last good checkpoint is {found[-1]}" if found else "there is no checkpoint yet"
    error = GateError(f"{folder}: {what} not finite by step {step}; {kept}; start anew with a lower learning rate")
    log.warning("training stopped: %s not finite by step %d", what, step)
    return error


def _read_stats(folder: Path, step: int) -> list[dict[str, Any]]:
    """Return the rows of ``stats.jsonl`` up to this step; a killed run may have written further."""
    path = folder / "stats.jsonl"
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        with contextlib.suppress(json.JSONDecodeError):  # a line cut short by the kill
            rows.append(json.loads(line))
    return [row for row in rows if row["step"] <= step]
