"""The two updates that every GAN training alternates, and the batch that both see."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sonoforge.models.mobilenetv2 import import_torchvision
from sonoforge.models.stylegan.generator import has_styles
from sonoforge.runtime.seeds import derive_seed
from sonoforge.training.devices import return_spare_memory
from sonoforge.training.gan.augmentations import ada
from sonoforge.training.gan.distributed import average_gradients, reduce_mean
from sonoforge.training.gan.generator import draw_latents, structures_drawn_into
from sonoforge.training.gan.losses import class_loss, feature_matching
from sonoforge.training.gan.recipes import Strength
from sonoforge.training.gan.regularisers import REGULARISERS, Batch, Penalty
from sonoforge.training.gan.sampling import DeviceImages, Sampling, draw_real, process_slice
from sonoforge.training.gan.state import TrainingState

Scalars = dict[str, Tensor]


class TrainingBatch(NamedTuple):
    """This process's part of everything random in one discriminator update, except the augmentation."""

    number: int  # of the discriminator update, counted from 0
    real: Tensor  # (n, C, S, S) in [-1, 1]
    latents: Tensor  # (n, Z)
    labels: Tensor | None  # (n,) int64, or None
    mix: Tensor  # see `regularisers.Batch`


def draw_batch(state: TrainingState, images: DeviceImages, sampling: Sampling, number: int) -> TrainingBatch:
    """Draw one discriminator update's batch for all processes; return this process's part."""
    fabric = state.fabric
    part = process_slice(sampling.batch, fabric.global_rank, fabric.world_size)
    real, labels = draw_real(images, sampling, number, fabric.global_rank, fabric.world_size)
    if state.recipe.growing:
        real = state.discriminator.fade(real)  # type: ignore[operator]
    latents = draw_latents(state.average, sampling.batch, state.seed, "latent", number)
    chance = torch.Generator().manual_seed(derive_seed(state.seed, "mix", number))
    mix = torch.rand(sampling.batch, 1, 1, 1, generator=chance)
    return TrainingBatch(number, real, latents[part].to(fabric.device), labels, mix[part].to(fabric.device))


def _micro_batches(state: TrainingState, batch: TrainingBatch) -> Iterator[Batch]:
    """Cut a batch into parts that fit in memory, each with its own random stream."""
    parts = state.accumulate
    labels = [None] * parts if batch.labels is None else batch.labels.chunk(parts)
    cut = zip(batch.real.chunk(parts), batch.latents.chunk(parts), labels, batch.mix.chunk(parts), strict=True)
    for index, (real, latents, own_labels, mix) in enumerate(cut):
        stream = (batch.number * state.fabric.world_size + state.fabric.global_rank) * parts + index
        chance = torch.Generator(state.fabric.device)
        chance.manual_seed(derive_seed(state.seed, "augmentation", stream))
        yield Batch(real, real, latents, own_labels, mix, state.image_channels, chance)


def update_discriminator(state: TrainingState, batch: TrainingBatch, *, keep: bool) -> tuple[list[Tensor], Scalars]:
    """Step the discriminator once.

    Args:
        state: Changed in place.
        batch: From `draw_batch`.
        keep: Whether to keep the graph of the generated images, which the generator's next update then reuses.

    Returns:
        The generated images of each micro-batch; and the means ``discriminator_loss``, ``real_score`` and
        ``fake_score``, with ADA ``r_t``, and each penalty by name.
    """
    discriminator = state.forward[1]
    recipe, strength = state.recipe, _strength(state)
    fakes: list[Tensor] = []
    batches: list[Batch] = []
    totals: Scalars = {}
    state.discriminator_optimiser.zero_grad()
    for micro in _micro_batches(state, batch):
        with state.fabric.autocast(), torch.set_grad_enabled(keep):
            fake = _generate(state, micro, update_average=True)
        # In full precision: looking images up at points has no gradient in half precision.
        real_seen = _seen(state, micro.real, strength, micro.chance)
        fake_seen = _seen(state, fake.detach().float(), strength, micro.chance)
        with state.fabric.autocast():
            # Separate batches, each with its own batch-norm statistics (Radford 2016's code).
            real_score, real_class = discriminator(real_seen, micro.labels)
            fake_score, fake_class = discriminator(fake_seen, micro.labels)
        real_score, fake_score = real_score.float(), fake_score.float()
        loss = state.loss.discriminator(real_score, fake_score, state.carried["loss"])
        loss = loss + class_loss(real_class, micro.labels) + class_loss(fake_class, micro.labels)
        fakes.append(fake)
        scalars = {"real_score": real_score, "fake_score": fake_score}
        if "augmentation" in state.carried:
            state.carried["augmentation"] = ada.observe(state.carried["augmentation"], real_score)
            scalars["r_t"] = real_score.sign()
        if any(REGULARISERS[name].penalty for name in recipe.regularisers):
            batches.append(micro._replace(real=real_seen.detach().float(), fake=fake_seen.detach().float()))
        _finish_part(state, "discriminator", loss, scalars, batches, totals)
    _step(state, state.discriminator, state.discriminator_optimiser)
    totals |= _lazy_penalties(state, "discriminator", batches, batch.number)
    for name, own in recipe.regularisers.items():
        after_step = REGULARISERS[name].after_step
        if after_step is not None:
            after_step(state.discriminator, own.weight)
    return fakes, totals


def update_generator(state: TrainingState, batch: TrainingBatch, fakes: list[Tensor], step: int) -> Scalars:
    """Step the generator once, against the current discriminator.

    Args:
        state: Changed in place.
        batch: The discriminator's last one.
        fakes: Generated images of its micro-batches with their graph; if empty, they are generated again.
        step: Number of earlier generator updates.

    Returns:
        ``generator_loss``, and where they apply ``perceptual``, ``feature_matching`` and each penalty.
    """
    discriminator = state.forward[1]
    strength = _strength(state)
    totals: Scalars = {}
    batches: list[Batch] = []
    state.discriminator.requires_grad_(False)
    state.generator_optimiser.zero_grad()
    for index, micro in enumerate(_micro_batches(state, batch)):
        with state.fabric.autocast():
            fake = fakes[index] if fakes else _generate(state, micro, update_average=False)
        same_chance = micro.chance.clone_state()
        seen = _seen(state, fake.float(), strength, micro.chance)
        with state.fabric.autocast():
            score, class_logits = discriminator(seen, micro.labels)
        loss = state.loss.generator(score.float(), state.carried["loss"]) + class_loss(class_logits, micro.labels)
        scalars: Scalars = {}
        if state.perceptual is not None:
            scalars["perceptual"] = state.perceptual(fake.float(), micro.real)
            loss = loss + state.recipe.perceptual_weight * scalars["perceptual"]
        if state.recipe.feature_matching:
            real_seen = _seen(state, micro.real, strength, same_chance)
            scalars["feature_matching"] = feature_matching(state.discriminator, seen, real_seen)
            loss = loss + state.recipe.feature_matching * scalars["feature_matching"]
        batches.append(micro._replace(fake=fake.detach()))
        _finish_part(state, "generator", loss, scalars, batches, totals)
    _step(state, state.generator, state.generator_optimiser)
    totals |= _lazy_penalties(state, "generator", batches, step)
    for group in state.discriminator_optimiser.param_groups:  # frozen parameters are in none
        for parameter in group["params"]:
            parameter.requires_grad_(True)
    return totals


def _generate(state: TrainingState, micro: Batch, *, update_average: bool) -> Tensor:
    generator = state.forward[0]
    images: Tensor
    if has_styles(state.generator):
        images = generator(micro.latents, micro.labels, chance=micro.chance, update_average=update_average)
    elif structures_drawn_into(state.generator):
        # Into the label maps of the real images, as in Park 2019: the channels of the batch after the image.
        images = generator(micro.latents, None, micro.real[:, state.image_channels :])
    else:
        images = generator(micro.latents, micro.labels)
    return images


def _seen(state: TrainingState, images: Tensor, strength: Tensor, chance: torch.Generator) -> Tensor:
    """Blur and augment images for the discriminator."""
    return state.augment(blur(images, state.blur_sigma), strength, state.image_channels, chance)


def _strength(state: TrainingState) -> Tensor:
    augmentation = state.carried.get("augmentation")
    return torch.ones((), device=state.fabric.device) if augmentation is None else augmentation["strength"]


def _penalties(state: TrainingState, of: str, *, lazy: bool) -> Iterator[tuple[str, Strength, Penalty]]:
    """Yield name, strength and function of the penalties on a network."""
    for name, own in state.recipe.regularisers.items():
        penalty = REGULARISERS[name].penalty
        if REGULARISERS[name].of == of and penalty is not None and (own.interval > 1) == lazy:
            yield name, own, penalty


def _finish_part(
    state: TrainingState, of: str, loss: Tensor, scalars: Scalars, batches: list[Batch], totals: Scalars
) -> None:
    """Add the network's penalties on the last batch to its loss, and compute this part's gradients."""
    # The network itself, in full precision: a compiled one cannot be differentiated twice.
    network = state.generator if of == "generator" else state.discriminator
    for name, own, penalty in _penalties(state, of, lazy=False):
        scalars[name] = penalty(network, batches[-1], state.carried[name])
        loss = loss + own.weight * scalars[name]
    state.fabric.backward(loss / state.accumulate)
    _add(totals, {f"{of}_loss": loss, **scalars}, state.accumulate)


def _lazy_penalties(state: TrainingState, of: str, batches: list[Batch], number: int) -> Scalars:
    """Take the lazy penalties' own steps, with their weight times their interval (Karras 2020, appendix B)."""
    totals: Scalars = {}
    network = state.generator if of == "generator" else state.discriminator
    optimiser = state.generator_optimiser if of == "generator" else state.discriminator_optimiser
    for name, own, penalty in _penalties(state, of, lazy=True):
        if number % own.interval:
            continue
        optimiser.zero_grad()
        for batch in batches:
            value = penalty(network, batch, state.carried[name])
            state.fabric.backward(value * (own.weight * own.interval / state.accumulate))
            _add(totals, {name: value}, state.accumulate)
        _step(state, network, optimiser)
    return totals


def _add(totals: Scalars, scalars: Scalars, parts: int) -> None:
    for name, value in scalars.items():
        totals[name] = totals.get(name, 0.0) + value.detach().float().mean() / parts


def update_carried(state: TrainingState, scalars: Scalars, done: int, images_per_step: int) -> None:
    """Update what the loss and the augmentation carry along, equally in all processes, after both networks' steps."""
    if state.loss.update is not None:
        real, fake = reduce_mean(state.fabric, torch.stack([scalars["real_score"], scalars["fake_score"]]))
        state.carried["loss"] = state.loss.update(real, fake, state.carried["loss"])
    if "augmentation" in state.carried and done % ada.INTERVAL == 0:
        names, values = zip(*state.carried["augmentation"].items(), strict=True)
        mean = dict(zip(names, reduce_mean(state.fabric, torch.stack(values)), strict=True))
        state.carried["augmentation"] = ada.adapt(mean, images_per_step * ada.INTERVAL)


def _step(state: TrainingState, network: nn.Module, optimiser: torch.optim.Optimizer) -> None:
    average_gradients(state.fabric, network)
    optimiser.step()
    if state.fabric.device.type == "cpu":
        return_spare_memory()


# Karras et al., "Alias-Free Generative Adversarial Networks", NeurIPS 2021, appendix: without a blur that fades early
# in the training, the discriminator of configuration R learns to look at high frequencies only.
BLUR_START = 10.0  # pixels: the standard deviation at the first step, whatever the size of the images
_BLUR_REACH = 3  # standard deviations on each side


def blur_sigma(images_shown: int, fade: int) -> float:
    """Return the standard deviation in pixels: from `BLUR_START` linearly to 0 over ``fade`` images, 0 without any."""
    return BLUR_START * max(0.0, 1.0 - images_shown / fade) if fade else 0.0


def blur(images: Tensor, sigma: float) -> Tensor:
    """Blur (N, C, S, S) by a Gaussian of at most three standard deviations a side; borders are reflected."""
    reach = min(math.floor(_BLUR_REACH * sigma), images.shape[-1] - 1)
    if reach < 1:
        return images
    blurred: Tensor = import_torchvision().transforms.functional.gaussian_blur(images, [2 * reach + 1] * 2, [sigma] * 2)
    return blurred
