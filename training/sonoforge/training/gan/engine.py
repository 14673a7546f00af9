"""The one loop that trains every GAN recipe.

Each step's images, latents and augmentation are drawn from (seed, purpose, step) alone, so a run
continued from a checkpoint repeats exactly what the uninterrupted run would have done; on CPU with
the same versions and number of threads, bit for bit.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from sonoforge.runtime.atomic import plain, write_text
from sonoforge.runtime.errors import GateError, SonoforgeError
from sonoforge.runtime.images.synthetic import split_masks
from sonoforge.runtime.seeds import derive_seed
from sonoforge.training import run_folder
from sonoforge.training.data.pixels import to_pixels, to_tensor, write_grid
from sonoforge.training.data.selection import evenly_spaced
from sonoforge.training.devices import deterministic_kernels, open_fabric
from sonoforge.training.gan import checkpoint as gan_checkpoint
from sonoforge.training.gan.augmentations import adaptive_p
from sonoforge.training.gan.augmentations.affine import AffineRanges
from sonoforge.training.gan.augmentations.blurring import blur_sigma
from sonoforge.training.gan.batches.draws import draw_latents
from sonoforge.training.gan.batches.expansion import expand
from sonoforge.training.gan.batches.feeding import Feeding, check_enough_images, draw_real, process_slice
from sonoforge.training.gan.batches.training_set import TrainingSet, hold_out
from sonoforge.training.gan.distributed.processes import any_says, average_styles, reduce_mean
from sonoforge.training.gan.ema import ema_decay, update_average
from sonoforge.training.gan.generator import latent_distribution
from sonoforge.training.gan.job import GanJob
from sonoforge.training.gan.networks import generator_options, outline_networks
from sonoforge.training.gan.objectives.perceptual import perceptual_loss
from sonoforge.training.gan.optimisers import set_learning_rate
from sonoforge.training.gan.progress.curves import PICTURE, write_curves
from sonoforge.training.gan.progress.diversity import COLLAPSE_FRACTION, is_collapsed
from sonoforge.training.gan.progress.event_log import open_event_log, write_events
from sonoforge.training.gan.progress.tick_metrics import make_metric_reference, measure_metrics
from sonoforge.training.gan.progress.ticks import (
    GRID,
    gradient_norm,
    make_reference,
    measure,
    memory_gib,
    read_stats,
    stalled,
)
from sonoforge.training.gan.recipes import Recipe
from sonoforge.training.gan.schedules import SCHEDULES, growing_stage
from sonoforge.training.gan.settings import NOT_COMPARED, PRECISIONS, Plan, compose, make_plan
from sonoforge.training.gan.state import Players, gather_players, players_tensors, restore_players
from sonoforge.training.gan.transfer import check_transfer
from sonoforge.training.gan.updates import Draw, update_discriminator, update_generator
from sonoforge.training.progress import progress_bar

log = logging.getLogger(__name__)

SAVE_SECONDS = 300  # between two ticks at most this long without a checkpoint
LOG_SECONDS = 30  # between two lines on the state of the training
ASK_STEPS = 16  # with several processes, how often they agree whether to stop


def train_gan(  # noqa: PLR0912 - the loop is one story, read top to bottom
    images: TrainingSet,
    job: GanJob,
    folder: Path,
    *,
    resume: bool = False,
    show_progress: bool = False,
    stop: Callable[[], bool] = lambda: False,
) -> Path:
    """Train one GAN and return the folder of its newest checkpoint.

    Writes into ``folder``: ``stats.jsonl`` (one object a tick), ``samples/`` (a grid of the same 64
    latents a tick, ``latest.png``, and ``real.png``; with masks ``latest_mask.png``), ``tensorboard/``,
    ``checkpoints/``, with metrics ``metrics.png``, and at the end ``results.json``.  Called again on a
    finished training of the same images and settings, it returns at once.

    Args:
        images: What to learn, at the size of the plan; of them ``held_out`` are only measured against.
        job: What to train and for how long.
        folder: Made if missing.
        resume: Continue from the newest checkpoint in ``folder``, if there is one.
        show_progress: Show a bar on stderr; else a log line now and then.
        stop: Asked after each step; once it says yes, the tick is closed, saved, and the function returns, without
            ``results.json``, as the training is not over.

    Returns:
        The checkpoint's folder, for `generator.load_generator`.

    Raises:
        SonoforgeError: Bad settings, or ``folder`` holds another training.
        GateError: A loss or a weight is no longer a finite number; the last good checkpoint is kept.
    """
    # Settings and data.
    settings, features, space, start_from = job.settings, job.features, job.space, job.start_from
    recipe = compose(settings)
    if settings.metrics and space is None:
        raise SonoforgeError(
            f"GAN training: measuring {', '.join(settings.metrics)} needs a feature space; give --metric-features"
        )
    originals, held_out = hold_out(images, settings.held_out or 0.0, settings.seed)
    images = expand(originals, settings.expand, AffineRanges(), settings.seed)
    plan = make_plan(settings, len(images))
    check_enough_images(images, plan.batch)
    options = network_options(images, recipe, plan, settings.accumulate)
    outline = outline_networks(recipe, options)
    check_transfer(start_from, settings.freeze_discriminator, recipe.architecture, outline)
    labelled = options["classes"] > 0
    labels = images.labels if labelled else None
    checkpoints = folder / "checkpoints"
    description = gan_checkpoint.Description(
        step=0,
        recipe=settings.recipe,
        architecture=recipe.architecture,
        generator_options=options,
        image_channels=images.image_channels,
        class_name=settings.class_name,
        classes=list(images.classes) if labelled else [],
        fingerprint=images.fingerprint,
        settings=plain(job.record()),
        composition=dataclasses.asdict(recipe),
    )
    found = gan_checkpoint.list_checkpoints(checkpoints)
    if found:
        _check_same(folder, gan_checkpoint.describe(found[-1]), description)
        if run_folder.is_finished(folder):
            log.info("%s: already trained", folder)
            return found[-1]
        if not resume:
            raise SonoforgeError(f"{folder}: holds an unfinished training; add --resume or choose another folder")
    shown = plan.batch * recipe.n_critic  # real images a step
    log.info(
        "training %s on %d images at %dx%dx%d: %d steps of %s%d images (%.3g epochs), learning rates %g and %g",
        settings.recipe, *images.pixels.shape, plan.steps, f"{recipe.n_critic} x " * (recipe.n_critic > 1), plan.batch,
        plan.steps * shown / len(images),
        recipe.generator_optimiser.learning_rate, recipe.discriminator_optimiser.learning_rate,
    )  # fmt: skip

    if features is not None:
        log.info("feature network: %s", features.name)

    # Networks, optimisers, loss.
    fabric = open_fabric(job.device, PRECISIONS[settings.precision])
    fabric.launch()
    leads = fabric.is_global_zero
    perceptual = None
    if recipe.perceptual_weight:
        assert features is not None  # noqa: S101 - `compose` refuses it
        perceptual = functools.partial(perceptual_loss, features, image_channels=images.image_channels)
    if settings.freeze_discriminator and start_from is None:
        log.warning("blocks of the discriminator are frozen as they were drawn: they have learned nothing")
    players = gather_players(
        fabric, recipe, settings, options, images.image_channels, perceptual, None if found else start_from
    )

    # Where an earlier run stopped.
    start = 0
    if found:
        start = gan_checkpoint.describe(found[-1]).step
        restore_players(players, found[-1])
        log.info("continuing from %s", found[-1])
    stats = read_stats(folder, start)
    if leads:
        write_text(folder / "stats.jsonl", "".join(json.dumps(row) + "\n" for row in stats))
        some = evenly_spaced(len(originals), GRID)
        write_grid(originals.pixels[some, ..., : images.image_channels], folder / "samples" / "real.png")

    # What each step and each tick takes its images from.
    pixels = to_tensor(images.pixels).to(fabric.device)
    feeding = Feeding(
        plan.batch, settings.seed, settings.balanced, settings.mirror, AffineRanges() if settings.affine else None
    )
    draw = functools.partial(_draw, players, pixels, labels, feeding)
    compared = dataclasses.replace(originals, labels=originals.labels if labelled else None)
    reference = make_reference(compared, players.average, settings.seed)
    metric_reference = None
    if leads and settings.metrics:
        assert space is not None  # noqa: S101 - refused above
        metric_reference = make_metric_reference(
            settings.metrics, space, compared, held_out, players.average, settings.seed
        )
        log.info(
            "%s in the feature space %s: %d generated images against %d %s images%s",
            " and ".join(name.upper() for name in settings.metrics), space.name, len(metric_reference.latents),
            len(metric_reference.embedded), metric_reference.kind,
            "" if held_out else ", so that copies of them would score best (see --held-out)",
        )  # fmt: skip
    measuring_steps = plan.tick_steps * settings.every

    def save(step: int, figures: dict[str, Any]) -> Path:
        states = players_tensors(players)
        for stem, state in states.items():
            if not all(bool(value.isfinite().all()) for value in state.values()):
                raise _not_finite(folder, f"{stem} weights", step)
        path = checkpoints / f"step-{step:08d}"
        if leads:
            about = dataclasses.replace(
                description,
                step=step,
                distance=figures.get("distance"),
                kid=figures.get("kid"),
                diversity=figures.get("diversity"),
            )
            path = gan_checkpoint.save_checkpoint(checkpoints, about, states)
            gan_checkpoint.remove_old(checkpoints, settings.keep)
        return path

    # The loop.
    peak = max((row["diversity"] for row in stats), default=0.0)
    collapsed = bool(stats) and bool(stats[-1]["collapsed"])
    checkpoint = found[-1] if found else checkpoints
    totals: dict[str, torch.Tensor] = {}
    counts: dict[str, int] = {}
    began = tick_began = saved_at = time.monotonic()
    logged_at = -math.inf
    tick_from = start
    stopped = over = False
    schedule = SCHEDULES[recipe.schedule]
    with contextlib.ExitStack() as stack:
        stack.enter_context(deterministic_kernels(fabric.device))
        title = f"{settings.recipe} {settings.class_name}"
        advance = stack.enter_context(progress_bar(title, plan.steps, start, show=show_progress and leads))
        events = stack.enter_context(contextlib.closing(open_event_log(folder, start))) if leads else None
        for step in range(start, plan.steps):
            for optimiser in (players.generator_optimiser, players.discriminator_optimiser):
                set_learning_rate(optimiser, schedule(step / plan.steps))
            players.blur_sigma = blur_sigma(step * shown, recipe.blur)
            if recipe.growing:
                _grow(players, step / plan.steps, plan.image_size)

            # The discriminator's turns, then the generator's; it meets the images of the last turn again.
            for turn in range(recipe.n_critic):
                given = draw(step * recipe.n_critic + turn)
                keep = turn == recipe.n_critic - 1 and settings.accumulate == 1
                fakes, scalars = update_discriminator(players, given, keep=keep)
            scalars |= update_generator(players, given, fakes if keep else [], step)
            average_styles(fabric, players.generator)
            update_average(
                players.average, players.generator, ema_decay(plan.batch, step * plan.batch, recipe.ema_half_life)
            )
            _update_state(players, scalars, step + 1, shown)
            for name, value in scalars.items():
                totals[name] = totals[name] + value if name in totals else value
                counts[name] = counts.get(name, 0) + 1

            done = step + 1
            advance(done, None)
            # Several processes ask each other now and then only: it makes a GPU wait.
            asking = done < plan.steps and (fabric.world_size == 1 or done % ASK_STEPS == 0)
            stopped = asking and any_says(fabric, stop())
            if done % plan.tick_steps and done < plan.steps and not stopped:
                if time.monotonic() - saved_at > SAVE_SECONDS and fabric.world_size == 1:
                    checkpoint = save(done, {})
                    saved_at = time.monotonic()
                continue

            # The tick: what happened since the last one, and how the samples are.
            seconds = (time.monotonic() - tick_began) / (done - tick_from)
            means = _means(players, totals, counts)
            if not all(map(math.isfinite, means.values())):
                raise _not_finite(folder, "loss", done)
            samples, figures = measure(players.average, reference, images.image_channels)
            if metric_reference is not None and (stopped or done == plan.steps or done % measuring_steps == 0):
                figures |= measure_metrics(players.average, metric_reference, images.image_channels)
            peak = max(peak, figures["diversity"])
            was_collapsed, collapsed = collapsed, is_collapsed(figures["diversity"], done, plan.steps)
            row: dict[str, Any] = {
                "step": done,
                "images": done * shown,
                "kimg": done * shown / 1000,
                "epoch": round(done * shown / len(images), 3),
                **means,
                "discriminator_gradient": gradient_norm(players, players.discriminator),
                "generator_gradient": gradient_norm(players, players.generator),
                **{name: float(value) for values in players.state.values() for name, value in values.items()},
                **figures,
                "collapsed": collapsed,
                "seconds_per_step": seconds,
                "seconds_per_kimg": seconds / shown * 1000,
                "images_per_second": shown / seconds,
                "memory_gib": memory_gib(fabric.device),
                "elapsed_seconds": time.monotonic() - began,
            }
            stats.append(row)
            if leads and events is not None:
                # Before the checkpoint: after a kill between the two, the row is cut off and made again.
                with (folder / "stats.jsonl").open("a", encoding="utf-8") as stream:
                    stream.write(json.dumps(row) + "\n")
                grid, masks = split_masks(to_pixels(samples), images.image_channels)
                for kind, pictures in (("", grid), ("_mask", masks)):
                    if pictures is not None:
                        names = (f"step-{done:08d}{kind}.png", f"latest{kind}.png")
                        write_grid(pictures, *(folder / "samples" / name for name in names))
                write_events(events, row, grid)
            checkpoint = save(done, figures)
            if "kid" in figures and checkpoint == gan_checkpoint.best_checkpoint(checkpoints):
                log.info(
                    "step %d: best so far, KID %.4f (standard error %.4f) against %d %s images",
                    done, figures["kid"], figures["kid_standard_error"], figures["metric_real"],
                    figures["metric_reference"],
                )  # fmt: skip
            summary = _summary(row)
            advance(done, summary)
            if collapsed and not was_collapsed:
                log.warning(
                    "%s: collapse at step %d: the samples' diversity is %.2f of the real images' (limit %.2f), %s",
                    folder, done, figures["diversity"], COLLAPSE_FRACTION,
                    f"after {peak:.2f}; try a lower learning rate, for example a fifth"
                    if peak >= COLLAPSE_FRACTION
                    else "and never was higher: the training is too short, or its learning rate too high",
                )  # fmt: skip
            elif was_collapsed and not collapsed:
                log.info("%s: diversity is back at %.2f at step %d", folder, figures["diversity"], done)
            if time.monotonic() - logged_at > LOG_SECONDS or done == plan.steps or stopped:
                left = (plan.steps - done) * seconds
                log.info(
                    "step %d/%d: %s, %.3g images/s, %.3f s/step, %.0f s left",
                    done, plan.steps, summary, shown / seconds, seconds, left,
                )  # fmt: skip
                logged_at = time.monotonic()
            totals, counts = {}, {}
            tick_from, tick_began, saved_at = done, time.monotonic(), time.monotonic()
            if settings.stop_after is not None and any_says(
                fabric, stalled(stats, settings.stop_after, measuring_steps)
            ):
                log.info("KID has not fallen for %d measurings: stopped at step %d", settings.stop_after, done)
                over = True
            if stopped or over:
                break

    best = gan_checkpoint.best_checkpoint(checkpoints) if leads else None
    criterion = gan_checkpoint.criterion(description.settings)
    best_about = gan_checkpoint.describe(best) if best else None
    if metric_reference is not None:
        write_curves(folder / PICTURE, stats, best_about.step if best_about else None)
    if leads and (over or not stopped):
        run_folder.write_results(
            folder,
            {
                "checkpoint": f"checkpoints/{checkpoint.name}",
                "settings": job.record(),
                "composition": dataclasses.asdict(recipe),
                "plan": plan._asdict(),
                "images": len(images),
                "channels": images.pixels.shape[3],
                "classes": description.classes,
                "data_fingerprint": images.fingerprint,
                "features": features.name if features else "",
                "metric_reference": metric_reference.kind if metric_reference else None,
                "held_out": len(held_out) if held_out else 0,
                "best_by": criterion,
                "best_checkpoint": f"checkpoints/{best.name}" if best else None,
                "best_step": best_about.step if best_about else None,
                "best_kid": best_about.kid if best_about else None,
                "vetoed_steps": [
                    row["step"] for row in stats if criterion in row and row["diversity"] < COLLAPSE_FRACTION
                ],
                "last_tick": stats[-1] if stats else None,
                "collapsed": collapsed,
                "ticks_collapsed": sum(bool(row["collapsed"]) for row in stats),
            },
        )
    return checkpoint


def network_options(images: TrainingSet, recipe: Recipe, plan: Plan, accumulate: int = 1) -> dict[str, Any]:
    """Return what builds the generator for these images.

    Args:
        images: To be learned.
        recipe: With all settings applied.
        plan: Its side in pixels and its batch are used.
        accumulate: Parts that a batch is computed in.

    Raises:
        SonoforgeError: Conditioning without several classes; or networks that cannot be built so.
    """
    classes = 0
    if recipe.conditioning != "none":
        classes = 0 if images.labels is None else len(images.classes)
        if classes < 2:
            raise SonoforgeError(
                f"GAN training: found conditioning {recipe.conditioning} and images of one class, expected several; "
                "leave --class-name out, or use --conditioning none"
            )
    options = generator_options(recipe, plan.image_size, images.pixels.shape[3], classes, plan.batch // accumulate)
    outline_networks(recipe, options)
    return options


def _draw(players: Players, pixels: torch.Tensor, labels: Any, feeding: Feeding, number: int) -> Draw:
    """Everything random of one discriminator update but the augmentation, drawn for all processes, and our part."""
    fabric, recipe = players.fabric, players.recipe
    part = process_slice(feeding.batch, fabric.global_rank, fabric.world_size)
    real, own_labels = draw_real(
        pixels, labels, players.image_channels, feeding, number, fabric.global_rank, fabric.world_size
    )
    if recipe.growing:
        real = players.discriminator.fade(real)  # type: ignore[operator]
    latents = draw_latents(
        feeding.batch, recipe.latent_size, players.seed, "latent", number, latent_distribution(players.average)
    )
    chance = torch.Generator().manual_seed(derive_seed(players.seed, "mix", number))
    mix = torch.rand(feeding.batch, 1, 1, 1, generator=chance)
    return Draw(number, real, latents[part].to(fabric.device), own_labels, mix[part].to(fabric.device))


def _grow(players: Players, progress: float, image_size: int) -> None:
    stage = growing_stage(progress, image_size, players.generator.base)  # type: ignore[arg-type]
    for network in (players.generator, players.discriminator, players.average):
        network.set_stage(*stage)  # type: ignore[operator]


def _update_state(players: Players, scalars: dict[str, torch.Tensor], done: int, shown: int) -> None:
    """Move what the loss and the augmentation carry along; equal in all processes."""
    if players.loss.update is not None:
        real, fake = reduce_mean(players.fabric, torch.stack([scalars["real_score"], scalars["fake_score"]]))
        players.state["loss"] = players.loss.update(real, fake, players.state["loss"])
    if "augmentation" in players.state and done % adaptive_p.INTERVAL == 0:
        names, values = zip(*players.state["augmentation"].items(), strict=True)
        mean = dict(zip(names, reduce_mean(players.fabric, torch.stack(values)), strict=True))
        players.state["augmentation"] = adaptive_p.adapt(mean, shown * adaptive_p.INTERVAL)


def _means(players: Players, totals: dict[str, torch.Tensor], counts: dict[str, int]) -> dict[str, float]:
    means = torch.stack([total / counts[name] for name, total in totals.items()])
    return dict(zip(totals, reduce_mean(players.fabric, means).tolist(), strict=True))


def _summary(row: dict[str, Any]) -> str:
    parts = [
        f"{row['kimg']:.1f} kimg",
        f"D {row['discriminator_loss']:.2f} G {row['generator_loss']:.2f}",
        f"diversity {row['diversity']:.2f} distance {row['distance']:.3f}",
    ]
    parts += [f"{name} {row[name]:.3g}" for name in ("kid", "strength", "k", "convergence") if name in row]
    return " ".join(parts)


def _check_same(folder: Path, before: gan_checkpoint.Description, now: gan_checkpoint.Description) -> None:
    """Refuse to mix two trainings in one folder."""
    keys = [key for key in now.settings if before.settings.get(key) != now.settings[key] and key not in NOT_COMPARED]
    if keys:
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
