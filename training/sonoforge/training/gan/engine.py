"""Train every GAN recipe with one loop.

Each step's images, latents and augmentation depend only on (seed, purpose, step), so a run continued from a checkpoint
repeats the uninterrupted run, bit for bit on a CPU with one thread (``OMP_NUM_THREADS=1``). With more threads torch's
matrix library does not promise the same last bits: ``training/studies/repeatability`` counts them.
"""

import json
import logging
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sonoforge.models.stylegan.generator import has_styles
from sonoforge.runtime.errors import SonoforgeError, refusing
from sonoforge.runtime.seeds import derive_seed
from sonoforge.training import own_code, run_folder
from sonoforge.training.data.pixels import to_tensor, to_unit
from sonoforge.training.data.split_plan import check_unchanged
from sonoforge.training.devices import deterministic_kernels, return_spare_memory
from sonoforge.training.gan import ada, augmentations, generator, losses, networks, recipes, settings
from sonoforge.training.gan import checkpoint as gan_checkpoint
from sonoforge.training.gan.recorder import Recorder
from sonoforge.training.gan.regularisers import REGULARISERS, Batch, Penalty
from sonoforge.training.gan.state import TrainingState, build_state, ema_decay, update_average
from sonoforge.training.gan.training import Training
from sonoforge.training.gan.training_set import DeviceImages, draw_real

log = logging.getLogger(__name__)

Scalars = dict[str, Tensor]
MASK_SHARE = 0.1  # weight of the masks' error beside the image's, both means over channels
GUIDED_AFTER = 3  # half-lives of the average, after which it is kept as the earlier one
ENCODED = 64  # images whose maps an autoencoder computes together


def train_gan(
    training: Training,
    folder: Path,
    *,
    resume: bool = False,
    show_progress: bool = False,
    stop: Callable[[], bool] = lambda: False,
) -> Path:
    """Train one GAN and return the folder of its newest checkpoint.

    It writes the files that `recorder.Recorder` lists. Called again for a finished training run with the same images
    and settings, it returns at once.

    Args:
        training: From `training.prepare`.
        folder: Made if missing.
        resume: Continue from the newest checkpoint in ``folder``, if any, even from a shorter training run.
        show_progress: Show a progress bar on stderr, rather than a log line now and then.
        stop: Called after each step; once it returns True, the current tick is saved and the function returns without
            ``results.json``, as it also does at each milestone.

    Raises:
        SonoforgeError: ``folder`` holds another training run.
        GateError: A loss or a weight is no longer finite; the last good checkpoint is kept.
    """
    newest = newest_checkpoint(folder, training, resume=resume)
    longer = newest is not None and _is_longer(training, gan_checkpoint.describe(newest))
    if newest is not None and run_folder.is_finished(folder) and not longer:
        log.info("%s: already trained", folder)
        return newest
    _log_training(training)
    plan = training.plan
    state = build_state(training, newest)
    start = gan_checkpoint.describe(newest).step if newest else 0
    if longer:
        schedule, factor = training.recipe.schedule, recipes.SCHEDULES[training.recipe.schedule](start / plan.steps)
        how = "as an uninterrupted training of that length does"
        if schedule != "constant":
            how = (
                f"but schedule {schedule} depends on the length: the learning rates continue at {factor:.3g} of the "
                "full ones, so the result differs from an uninterrupted training of that length"
            )
        log.info("longer than before: from step %d to %d, %s", start, plan.steps, how)
    real = prepare_data(state, training)

    interrupted = False
    recorder = Recorder(folder, training, state, newest, show_progress=show_progress)
    with deterministic_kernels(state.device), torch.random.fork_rng(devices=[]), recorder:
        for step in range(start, plan.steps):
            scalars = train_step(state, training, real, step)
            done = step + 1
            interrupted = done < plan.steps and (done in training.milestones or stop())
            recorder.add(done, scalars, interrupted=interrupted)
            if interrupted:
                break
    return recorder.finish(interrupted=interrupted)


def prepare_data(state: TrainingState, training: Training) -> DeviceImages:
    """Move the images to the device."""
    images, settings, batch = training.images, training.settings, training.plan.batch
    labels = images.labels if training.conditional else None
    pixels, mirror = to_tensor(images.pixels).to(state.device), training.recipe.mirror
    if not state.loss.velocity or getattr(state.generator, "autoencoder", None) is None:
        return DeviceImages(pixels, labels, batch, settings.seed, mirror)
    # An autoencoder stays as it is, so each image and its mirror image are encoded once.
    parts = [*pixels.split(ENCODED), *(part.flip(3) for part in pixels.split(ENCODED) if mirror)]
    with torch.no_grad():
        maps = torch.cat([state.generator.encode(to_unit(part)) for part in parts])  # type: ignore[operator]
    return DeviceImages(maps, labels if labels is None else np.tile(labels, 1 + mirror), batch, settings.seed)


def train_step(state: TrainingState, training: Training, real: DeviceImages, step: int) -> dict[str, Tensor]:
    """Train one step; return its measurements by name."""
    recipe, plan = training.recipe, training.plan
    progress = step / plan.steps
    for optimiser in (state.generator_optimiser, state.discriminator_optimiser):
        for group in optimiser.param_groups:  # the rate is its first value times a factor
            first = group.setdefault("first_lr", group["lr"])
            group["lr"] = first * recipes.SCHEDULES[recipe.schedule](progress)
    state.blur_sigma = augmentations.blur_sigma(step * training.images_per_step, recipe.blur)
    if recipe.growing:
        stage = recipes.growing_stage(progress, plan.image_size, state.generator.base)  # type: ignore[arg-type]
        for network in (state.generator, state.discriminator, state.average):
            network.set_stage(*stage)  # type: ignore[operator]

    if own_code.is_own(recipe.architecture):  # whose layers may draw random numbers, as dropout does
        torch.manual_seed(derive_seed(state.seed, "own networks", step))
    if state.loss.velocity:
        if state.early is not None and step == _guided_from(recipe, plan.batch):
            state.early.load_state_dict(state.average.state_dict())
        scalars = update_velocity(state, draw_batch(state, real, step))
    else:  # the discriminator's turns, then the generator's, against the images of the last turn
        for turn in range(recipe.n_critic):
            batch = draw_batch(state, real, step * recipe.n_critic + turn)
            fake, scalars = update_discriminator(state, batch, keep=turn == recipe.n_critic - 1)
        scalars |= update_generator(state, batch, fake, step)

    decay = ema_decay(plan.batch, step * plan.batch, recipe.ema_half_life)
    update_average(state.average, state.generator, decay)
    if state.loss.update is not None:
        state.carried["loss"] = state.loss.update(scalars["real_score"], scalars["fake_score"], state.carried["loss"])
    if "augmentation" in state.carried and (step + 1) % ada.INTERVAL == 0:
        shown = training.images_per_step * ada.INTERVAL
        state.carried["augmentation"] = ada.adapt(state.carried["augmentation"], shown)
    return scalars


def newest_checkpoint(folder: Path, training: Training, *, resume: bool) -> Path | None:
    """Return the newest checkpoint of an earlier call in the folder, or None.

    Raises:
        SonoforgeError: The folder holds another training run, or this one unfinished without ``resume``, or one too
            short that cannot be made longer.
    """
    found = gan_checkpoint.list_checkpoints(folder / "checkpoints")
    if not found:
        return None
    if training.originals.sources:
        path = folder / gan_checkpoint.SOURCES
        unknown = f"{path}: the images of this training are unknown, as this file cannot be read"
        with refusing(unknown, "leave out --resume to start again"):
            sources = json.loads(path.read_text(encoding="utf-8"))
        check_unchanged(str(folder), sources, training.originals.sources)
    before, now = gan_checkpoint.describe(found[-1]), training.description
    keys = [key for key in now.settings if before.settings.get(key) != now.settings[key]]
    if resume and keys and _is_longer(training, before):
        if training.recipe.growing:
            raise SonoforgeError(
                f"{folder}: holds a shorter training run that grew in resolution over its length, so it cannot be made "
                "longer; leave out --resume to start again"
            )
        keys = [key for key in keys if key not in settings.DURATIONS]
    if keys:
        changed = ", ".join(f"{key} was {before.settings.get(key)!r}, is {now.settings[key]!r}" for key in keys)
        raise SonoforgeError(f"{folder}: holds a training run with other settings ({changed}); choose another folder")
    if before.fingerprint != now.fingerprint:
        raise SonoforgeError(f"{folder}: holds a training run on other images, or masks; choose another folder")
    if not resume and not run_folder.is_finished(folder):
        raise SonoforgeError(f"{folder}: holds an unfinished training; resume it or choose another folder")
    return found[-1]


def _is_longer(training: Training, before: gan_checkpoint.Description) -> bool:
    """Whether a training run is longer than a checkpoint's, which is before its end."""
    lengths = {name: getattr(training.settings, name) for name in settings.DURATIONS}
    return (
        lengths != {name: before.settings.get(name) for name in settings.DURATIONS}
        and before.step < training.plan.steps
    )


def _log_training(training: Training) -> None:
    recipe, plan, own = training.recipe, training.plan, training.pretrained
    count, height, width, channels = training.images.pixels.shape
    turns = f"{recipe.n_critic} x " if recipe.n_critic > 1 else ""
    log.info(
        "training %s on %d images at %dx%dx%d: %d steps of %s%d images (%.3g epochs), learning rate %s",
        training.settings.recipe, count, height, width, channels, plan.steps, turns, plan.batch,
        plan.steps * training.images_per_step / count,
        " and ".join(f"{getattr(recipe, f'{name}_optimiser').learning_rate:g}" for name in training.learning),
    )  # fmt: skip
    if recipe.guidance and plan.steps <= (begins := _guided_from(recipe, plan.batch)):
        log.info("not guided: guidance begins at step %d, earlier with a shorter gan.ema_half_life", begins)
    projected = networks.discriminator_of(recipe).projected
    if own.features is None or not (projected or recipe.perceptual_weight):
        return
    log.info("feature network: %s", recipe.through(own.features.name))
    kind, space = own.features.name.partition(" ")[0], own.space
    # The bundle's classifier began as a MobileNetV2.
    same = space and (kind in space.name or (space.name.startswith("bundle") and kind == "mobilenet_v2"))
    if projected and space and same:
        log.warning(
            "the metrics are measured in %s, and the discriminator sees images through %s, which flatters them; "
            "gan.metric_features names another space", space.short_name, kind,
        )  # fmt: skip


def draw_batch(state: TrainingState, images: DeviceImages, number: int) -> Batch:
    """Draw the batch of one discriminator update; no images are generated yet."""
    real, labels = draw_real(images, number)
    if state.recipe.growing:
        real = state.discriminator.fade(real)  # type: ignore[operator]
    latents = generator.draw_latents(state.average, images.batch, state.seed, "latent", number).to(state.device)
    chance = torch.Generator().manual_seed(derive_seed(state.seed, "mix", number))
    mix = torch.rand(images.batch, 1, 1, 1, generator=chance).to(state.device)
    return Batch(real, real, latents, labels, mix, state.image_channels, torch.Generator(state.device), number)


def _start_chance(state: TrainingState, batch: Batch) -> None:
    """Start the batch's stream of random numbers, the same for both networks' updates."""
    batch.chance.manual_seed(derive_seed(state.seed, "augmentation", batch.number))


def update_discriminator(state: TrainingState, own: Batch, *, keep: bool) -> tuple[Tensor, Scalars]:
    """Step the discriminator once.

    The state is changed in place; ``keep`` keeps the graph of the generated images for the generator's next update,
    and, if the recipe's networks step together, leaves the step itself until then.

    Returns:
        The generated images (N, C, S, S); and the means ``discriminator_loss``, ``real_score`` and ``fake_score``, with
        ADA ``r_t``, and each penalty by name.
    """
    discriminator, recipe, strength = state.discriminator, state.recipe, _strength(state)
    _start_chance(state, own)
    state.discriminator_optimiser.zero_grad()
    with state.autocast(), torch.set_grad_enabled(keep):
        fake = _generate(state, own)
    # In full precision: looking images up at points has no gradient in half precision.
    real_seen = _seen(state, own.real, strength, own.chance)
    fake_seen = _seen(state, fake.detach().float(), strength, own.chance)
    with state.autocast():
        # Separate batches, each with its own batch-norm statistics (Radford 2016's code).
        real_score, real_class = discriminator(real_seen, own.labels)
        fake_score, fake_class = discriminator(fake_seen, own.labels)
    real_score, fake_score = real_score.float(), fake_score.float()
    loss = state.loss.discriminator(real_score, fake_score, state.carried["loss"])
    loss = loss + losses.class_loss(real_class, own.labels) + losses.class_loss(fake_class, own.labels)
    scalars = {"real_score": real_score, "fake_score": fake_score}
    if "augmentation" in state.carried:
        state.carried["augmentation"] = ada.observe(state.carried["augmentation"], real_score)
        scalars["r_t"] = real_score.sign()
    seen = own._replace(real=real_seen.detach().float(), fake=fake_seen.detach().float())
    totals = _differentiate(state, "discriminator", loss, scalars, seen)
    if not (recipe.simultaneous and keep):
        _step(state, state.discriminator_optimiser)
    totals |= _lazy_penalties(state, "discriminator", seen, own.number)
    for name, strength_of in recipe.regularisers.items():
        after_step = REGULARISERS[name].after_step
        if after_step is not None:
            after_step(discriminator, strength_of.weight)
    return fake, totals


def _guided_from(recipe: recipes.Recipe, batch: int) -> int:
    return math.ceil(GUIDED_AFTER * recipe.ema_half_life / batch)


def update_velocity(state: TrainingState, own: Batch) -> Scalars:
    """Step a network that learns the velocity from noise to images once (Lipman 2023, equation 23).

    With guidance w, the velocity v is taught as (1 + w) v - w v', where v' is what its average was at an earlier step:
    a network's errors are larger where a worse version of it differs (Karras et al., "Guiding a Diffusion Model with a
    Bad Version of Itself", NeurIPS 2024). Taught so (Tang, Bao, Chen, Guo, "Diffusion Models without Classifier-free
    Guidance", 2025), guidance costs nothing when drawing.

    The batch's latents are its noise; times follow a logistic normal distribution (Esser 2024, section 3.1).  Of the
    masks, a third each is given, as at time 1; pure noise, as at 0; and learned together with the images.

    Returns:
        ``generator_loss``, the mean squared error of the image's velocity, and `MASK_SHARE` of the masks'.
    """
    _start_chance(state, own)
    state.generator_optimiser.zero_grad()
    network: Any = state.generator
    real = own.real if own.real.shape[1:] == network.shape else network.encode(own.real)
    noise = own.latents.view_as(real)
    times = torch.randn(len(noise), 1, generator=own.chance, device=state.device).sigmoid()
    part = torch.rand(len(noise), 1, generator=own.chance, device=state.device)
    if network.masks:
        of_masks = torch.where(part < 1 / 3, 1.0, torch.where(part < 2 / 3, 0.0, times))
        times = torch.cat([times, of_masks], 1)
    at = times.repeat_interleave(torch.tensor(network.parts, device=state.device), 1)[..., None, None]
    with state.autocast():
        noisy = (1 - at) * noise + at * real
        found = network.velocity(noisy, times, own.labels)
    wanted = real - noise
    if state.early is not None and own.number >= _guided_from(state.recipe, len(noise)):
        early: Any = state.early
        with state.autocast(), torch.no_grad():
            beyond = found - early.velocity(noisy, times, own.labels)
        wanted = wanted + state.recipe.guidance / (1 + state.recipe.guidance) * beyond.float()
    apart = (found.float() - wanted).square().split(network.parts, 1)
    errors, *rest = (each.flatten(1).mean(1) for each in apart)
    for of_masks in rest:
        errors = errors + 3 * MASK_SHARE * (part[:, 0] >= 2 / 3) * of_masks
    loss = state.loss.generator(errors, state.carried["loss"])
    totals = _differentiate(state, "generator", loss, {}, own)
    _step(state, state.generator_optimiser)
    return totals


def update_generator(state: TrainingState, own: Batch, fake: Tensor, step: int) -> Scalars:
    """Step the generator once, against the current discriminator, and both if the recipe's networks step together.

    ``own`` is the discriminator's last batch, ``fake`` its generated images with their graph, ``step`` the number of
    earlier generator updates.

    Returns:
        ``generator_loss``, and, if they apply, ``perceptual``, ``feature_matching`` and each penalty.
    """
    strength = _strength(state)
    _start_chance(state, own)
    state.discriminator.requires_grad_(False)
    state.generator_optimiser.zero_grad()
    same_chance = own.chance.clone_state()
    seen = _seen(state, fake.float(), strength, own.chance)
    with state.autocast():
        score, class_logits = state.discriminator(seen, own.labels)
    loss = state.loss.generator(score.float(), state.carried["loss"]) + losses.class_loss(class_logits, own.labels)
    scalars: Scalars = {}
    if state.perceptual is not None:
        scalars["perceptual"] = state.perceptual(fake.float(), own.real)
        loss = loss + state.recipe.perceptual_weight * scalars["perceptual"]
    if state.recipe.feature_matching:
        real_seen = _seen(state, own.real, strength, same_chance)
        scalars["feature_matching"] = losses.feature_matching(state.discriminator, seen, real_seen)
        loss = loss + state.recipe.feature_matching * scalars["feature_matching"]
    drawn = own._replace(fake=fake.detach())
    totals = _differentiate(state, "generator", loss, scalars, drawn)
    _step(state, state.generator_optimiser)
    if state.recipe.simultaneous:
        _step(state, state.discriminator_optimiser)
    totals |= _lazy_penalties(state, "generator", drawn, step)
    for group in state.discriminator_optimiser.param_groups:  # frozen parameters are in none
        for parameter in group["params"]:
            parameter.requires_grad_(True)
    return totals


def _generate(state: TrainingState, own: Batch) -> Tensor:
    images: Tensor
    if has_styles(state.generator):
        images = state.generator(own.latents, own.labels, chance=own.chance, update_average=True)
    elif generator.structures_drawn_into(state.generator):
        # Into the label maps of the real images, as in Park 2019: the channels of the batch after the image.
        images = state.generator(own.latents, None, own.real[:, state.image_channels :])
    else:
        images = state.generator(own.latents, own.labels)
    return images


def _seen(state: TrainingState, images: Tensor, strength: Tensor, chance: torch.Generator) -> Tensor:
    """Blur and augment images for the discriminator."""
    return state.augment(augmentations.blur(images, state.blur_sigma), strength, state.image_channels, chance)


def _strength(state: TrainingState) -> Tensor:
    augmentation = state.carried.get("augmentation")
    return torch.ones((), device=state.device) if augmentation is None else augmentation["strength"]


def _penalties(state: TrainingState, of: str, *, lazy: bool) -> Iterator[tuple[str, recipes.Strength, Penalty]]:
    """Yield name, strength and function of the penalties on a network."""
    for name, own in state.recipe.regularisers.items():
        penalty = REGULARISERS[name].penalty
        if REGULARISERS[name].of == of and penalty is not None and (own.interval > 1) == lazy:
            yield name, own, penalty


def _differentiate(state: TrainingState, of: str, loss: Tensor, scalars: Scalars, batch: Batch) -> Scalars:
    """Add the network's penalties to its loss, and compute its gradients; return the means of loss and scalars."""
    network, _ = state.of(of)
    for name, own, penalty in _penalties(state, of, lazy=False):
        scalars[name] = penalty(network, batch, state.carried[name])
        loss = loss + own.weight * scalars[name]
    loss.backward()
    return {name: _mean(value) for name, value in {f"{of}_loss": loss, **scalars}.items()}


def _lazy_penalties(state: TrainingState, of: str, batch: Batch, number: int) -> Scalars:
    """Take the lazy penalties' own steps, with their weight multiplied by their interval (Karras 2020, appendix B)."""
    totals: Scalars = {}
    network, optimiser = state.of(of)
    for name, own, penalty in _penalties(state, of, lazy=True):
        if number % own.interval:
            continue
        optimiser.zero_grad()
        value = penalty(network, batch, state.carried[name])
        (value * (own.weight * own.interval)).backward()
        totals[name] = _mean(value)
        _step(state, optimiser)
    return totals


def _mean(value: Tensor) -> Tensor:
    return value.detach().float().mean()


def _step(state: TrainingState, optimiser: torch.optim.Optimizer) -> None:
    optimiser.step()
    if state.device.type == "cpu":
        return_spare_memory()
