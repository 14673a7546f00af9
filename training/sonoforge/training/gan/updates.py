"""The two updates that every GAN training alternates."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sonoforge.models.stylegan.mapping import has_styles
from sonoforge.runtime.seeds import derive_seed
from sonoforge.training.gan.augmentations.adaptive_p import observe
from sonoforge.training.gan.augmentations.blurring import blur
from sonoforge.training.gan.distributed.processes import average_gradients
from sonoforge.training.gan.objectives.batch import Batch
from sonoforge.training.gan.objectives.conditioning import class_loss
from sonoforge.training.gan.objectives.regularisers import REGULARISERS, Regulariser
from sonoforge.training.gan.recipes import Strength
from sonoforge.training.gan.state import Players

Scalars = dict[str, Tensor]


class Draw(NamedTuple):
    """What one discriminator update is given: this process's part.

    Attributes:
        number: Of the discriminator update, counted from 0.
        real: (n, C, S, S) in [-1, 1].
        latents: (n, Z).
        labels: (n,) int64, or None.
        mix: See `batch.Batch`.
    """

    number: int
    real: Tensor
    latents: Tensor
    labels: Tensor | None
    mix: Tensor


class Portion(NamedTuple):
    """A part of a draw, small enough to be computed at once, with its own source of random numbers."""

    real: Tensor
    latents: Tensor
    labels: Tensor | None
    mix: Tensor
    chance: torch.Generator


def _portions(players: Players, draw: Draw) -> Iterator[Portion]:
    parts = players.accumulate
    labels = [None] * parts if draw.labels is None else draw.labels.chunk(parts)
    cut = zip(draw.real.chunk(parts), draw.latents.chunk(parts), labels, draw.mix.chunk(parts), strict=True)
    for index, (real, latents, own_labels, mix) in enumerate(cut):
        # A stream of its own for each portion of each process.
        stream = (draw.number * players.fabric.world_size + players.fabric.global_rank) * parts + index
        chance = torch.Generator(players.fabric.device)
        chance.manual_seed(derive_seed(players.seed, "augmentation", stream))
        yield Portion(real, latents, own_labels, mix, chance)


def update_discriminator(players: Players, draw: Draw, *, keep: bool) -> tuple[list[Tensor], Scalars]:
    """Step the discriminator once.

    Args:
        players: Changed in place.
        draw: Real images, and the latents of the generated ones.
        keep: Whether the generator's next update will use the same generated images, so that their graph is kept.

    Returns:
        The generated images of each portion, with their graph if kept; and ``discriminator_loss``, ``real_score``,
        ``fake_score`` (means), with ADA ``r_t``, and each penalty by name.
    """
    discriminator = players.forward[1]
    recipe, strength = players.recipe, _strength(players)
    fakes: list[Tensor] = []
    batches: list[Batch] = []
    totals: Scalars = {}
    players.discriminator_optimiser.zero_grad()
    for portion in _portions(players, draw):
        with players.fabric.autocast(), torch.set_grad_enabled(keep):
            fake = _generate(players, portion, update_average=True)
        # In full precision: what looks images up at points has no gradient in half of it.
        real_seen = _seen(players, portion.real, strength, portion.chance)
        fake_seen = _seen(players, fake.detach().float(), strength, portion.chance)
        with players.fabric.autocast():
            # Real and generated images in batches of their own, each with its own batch-norm statistics
            # (Radford 2016's code).
            real_score, real_class = discriminator(real_seen, portion.labels)
            fake_score, fake_class = discriminator(fake_seen, portion.labels)
        real_score, fake_score = real_score.float(), fake_score.float()
        loss = players.loss.discriminator(real_score, fake_score, players.state["loss"])
        loss = loss + class_loss(real_class, portion.labels) + class_loss(fake_class, portion.labels)
        fakes.append(fake)
        scalars = {"real_score": real_score, "fake_score": fake_score}
        if "augmentation" in players.state:
            players.state["augmentation"] = observe(players.state["augmentation"], real_score)
            scalars["r_t"] = real_score.sign()
        if any(REGULARISERS[name].penalty for name in recipe.regularisers):
            batches.append(
                Batch(
                    *(real_seen.detach().float(), fake_seen.detach().float(), portion.latents, portion.labels),
                    *(portion.mix, players.image_channels, portion.chance),
                )
            )
        for name, regulariser, own in _penalties(players, "discriminator", lazy=False):
            scalars[name] = _penalty(players, regulariser, name, batches[-1])
            loss = loss + own.weight * scalars[name]
        players.fabric.backward(loss / players.accumulate)
        _add(totals, {"discriminator_loss": loss, **scalars}, players.accumulate)
    _step(players, players.discriminator, players.discriminator_optimiser)
    totals |= _lazy_penalties(players, "discriminator", batches, draw.number)
    for name, own in recipe.regularisers.items():
        after_step = REGULARISERS[name].after_step
        if after_step is not None:
            after_step(players.discriminator, own.weight)
    return fakes, totals


def update_generator(players: Players, draw: Draw, fakes: list[Tensor], step: int) -> Scalars:
    """Step the generator once, against the discriminator as it is now.

    Args:
        players: Changed in place.
        draw: The last of the discriminator's.
        fakes: Generated images of its portions with their graph; empty: they are made again.
        step: Generator updates before this one.

    Returns:
        ``generator_loss``, and ``perceptual`` and each penalty where there are any.
    """
    discriminator = players.forward[1]
    strength = _strength(players)
    totals: Scalars = {}
    batches: list[Batch] = []
    players.discriminator.requires_grad_(False)  # its own gradients are not needed
    players.generator_optimiser.zero_grad()
    for index, portion in enumerate(_portions(players, draw)):
        with players.fabric.autocast():
            fake = fakes[index] if fakes else _generate(players, portion, update_average=False)
        seen = _seen(players, fake.float(), strength, portion.chance)
        with players.fabric.autocast():
            score, class_logits = discriminator(seen, portion.labels)
        loss = players.loss.generator(score.float(), players.state["loss"]) + class_loss(class_logits, portion.labels)
        scalars: Scalars = {}
        if players.perceptual is not None:
            scalars["perceptual"] = players.perceptual(fake.float(), portion.real)
            loss = loss + players.recipe.perceptual_weight * scalars["perceptual"]
        batches.append(
            Batch(portion.real, fake.detach(), *portion[1:3], portion.mix, players.image_channels, portion.chance)
        )
        for name, regulariser, own in _penalties(players, "generator", lazy=False):
            scalars[name] = _penalty(players, regulariser, name, batches[-1])
            loss = loss + own.weight * scalars[name]
        players.fabric.backward(loss / players.accumulate)
        _add(totals, {"generator_loss": loss, **scalars}, players.accumulate)
    _step(players, players.generator, players.generator_optimiser)
    totals |= _lazy_penalties(players, "generator", batches, step)
    for group in players.discriminator_optimiser.param_groups:  # those that are frozen stay so
        for parameter in group["params"]:
            parameter.requires_grad_(True)
    return totals


def _generate(players: Players, portion: Portion, *, update_average: bool) -> Tensor:
    """Make a portion's images; a generator with styles draws noise and mixes styles by the portion's own chance."""
    generator = players.forward[0]
    if not has_styles(players.generator):
        images: Tensor = generator(portion.latents, portion.labels)
        return images
    images = generator(portion.latents, portion.labels, chance=portion.chance, update_average=update_average)
    return images


def _seen(players: Players, images: Tensor, strength: Tensor, chance: torch.Generator) -> Tensor:
    """What the discriminator sees of images: blurred, then augmented."""
    return players.augment(blur(images, players.blur_sigma), strength, players.image_channels, chance)


def _strength(players: Players) -> Tensor:
    augmentation = players.state.get("augmentation")
    return torch.ones((), device=players.fabric.device) if augmentation is None else augmentation["strength"]


def _penalties(players: Players, of: str, *, lazy: bool) -> list[tuple[str, Regulariser, Strength]]:
    return [
        (name, REGULARISERS[name], own)
        for name, own in players.recipe.regularisers.items()
        if REGULARISERS[name].of == of and REGULARISERS[name].penalty is not None and (own.interval > 1) == lazy
    ]


def _penalty(players: Players, regulariser: Regulariser, name: str, batch: Batch) -> Tensor:
    """In full precision, and through the network itself: compiled ones cannot be differentiated twice."""
    network = players.generator if regulariser.of == "generator" else players.discriminator
    assert regulariser.penalty is not None  # noqa: S101 - `_penalties` chose those that have one
    return regulariser.penalty(network, batch, players.state[name])


def _lazy_penalties(players: Players, of: str, batches: list[Batch], number: int) -> Scalars:
    """Steps of their own every few updates, with as much more weight (Karras 2020, appendix B)."""
    totals: Scalars = {}
    network = players.generator if of == "generator" else players.discriminator
    optimiser = players.generator_optimiser if of == "generator" else players.discriminator_optimiser
    for name, regulariser, own in _penalties(players, of, lazy=True):
        if number % own.interval:
            continue
        optimiser.zero_grad()
        for batch in batches:
            penalty = _penalty(players, regulariser, name, batch)
            players.fabric.backward(penalty * (own.weight * own.interval / players.accumulate))
            _add(totals, {name: penalty}, players.accumulate)
        _step(players, network, optimiser)
    return totals


def _add(totals: Scalars, scalars: Scalars, parts: int) -> None:
    for name, value in scalars.items():
        totals[name] = totals.get(name, 0.0) + value.detach().float().mean() / parts


def _step(players: Players, network: nn.Module, optimiser: torch.optim.Optimizer) -> None:
    average_gradients(players.fabric, network)
    optimiser.step()
