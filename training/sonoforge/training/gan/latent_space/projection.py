"""Projection: the drawing of a generator that is nearest to an image, found by optimisation.

Karras, Laine, Aittala, Hellsten, Lehtinen, Aila, "Analyzing and Improving the Image Quality of StyleGAN", CVPR 2020,
section 5 and appendix D: from the mean style, Adam minimises LPIPS over one style w for all layers, with added noise
that fades within the first three quarters.  Without styles it optimises the latent z, keeping its usual length or
range.

Unlike there:

- The search also begins at the nearest of `POOL` random drawings of each class, as the mean of a generator of few scans
  is often far from all of them.  The best of `STARTS` after a third of the steps is followed to the end.
- A layer's noise stays as stored, as in ``gan sample``.  The paper optimises it, which finds drawings without a latent.
- `STEPS` are fewer, for a processor.

Images larger than 256 pixels are compared at 256 (appendix D).
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from scipy import stats
from torch import Tensor, nn
from torch.nn.functional import interpolate

from sonoforge.models.stylegan.generator import has_styles
from sonoforge.runtime.seeds import derive_seed
from sonoforge.training.gan.generator import (
    CPU_BATCH,
    draw_latents,
    label_batch,
    latent_distribution,
    latent_size,
    map_latents,
)
from sonoforge.training.gan.latent_space.path_length import SquaredDistance

POOL = 256
STARTS = 4
STEPS = 300  # of 1000 in the paper
AVERAGED = 10_000  # latents behind the mean style and the spread of styles (appendix D, like the following)
RATE = 0.1  # of Adam, at most
RAMPS = (0.05, 0.25)  # shares of the steps in which the rate rises, and falls to 0
NOISE = (0.05, 0.75)  # share of the spread at first; share of the steps after which there is none
LARGEST = 256  # pixels: largest side at which images are compared
TYPICAL = 0.998  # share of the latents whose length the search allows


class Nearest(NamedTuple):
    """The nearest drawing that was found."""

    distance: float
    image: Tensor  # (C, S, S) in about [-1, 1], on the CPU
    label: int | None  # of its class


@dataclass(frozen=True, eq=False)
class Space:
    """The space in which drawings are searched."""

    points: Tensor  # (P, D) starting points, on the generator's device
    labels: Tensor | None  # (P,) int64 of their classes
    spread: float  # root of the mean squared distance of points from their mean
    draw: Callable[[Tensor, Tensor | None], Tensor]  # points (N, D) and labels (N,) to images (N, C, S, S)
    keep: Callable[[Tensor], Tensor]  # moves points to the nearest ones that a drawing may come from


def open_space(generator: nn.Module, labels: Sequence[int | None], seed: int) -> Space:
    """Return the space of a generator in evaluation mode: styles of a StyleGAN, else latents.

    Args:
        generator: From `load_generator`.
        labels: The classes to search; ``[None]`` for a generator without classes.
        seed: Seed of the starting points.
    """
    latents = draw_latents(generator, POOL, seed, "projection starts")
    points, classes = [], []
    for label in labels:
        own = latents.to(next(generator.parameters()).device)
        if has_styles(generator):
            styles = map_latents(generator, draw_latents(generator, AVERAGED, seed, "mean style"), label)[:, 0]
            own = torch.cat([styles.mean(0, keepdim=True), map_latents(generator, latents, label)[:, 0]])
            spread = float((styles - styles.mean(0)).square().sum(1).mean().sqrt())
        points.append(own)
        classes.append(label_batch(generator, label, len(own)))
    known = [own for own in classes if own is not None]
    where = torch.cat(points), torch.cat(known) if known else None
    if has_styles(generator):
        number = int(generator.mapping.num_styles)  # type: ignore[union-attr, arg-type]

        def synthesise(points: Tensor, labels: Tensor | None) -> Tensor:
            del labels  # a style has its class within
            images: Tensor = generator.synthesis(points[:, None].expand(-1, number, -1))  # type: ignore[operator]
            return images

        return Space(*where, spread, synthesise, lambda points: points)
    size = latent_size(generator)
    if latent_distribution(generator) == "uniform":
        return Space(*where, math.sqrt(size / 3), generator, lambda points: points.clamp(-1, 1))
    shortest, longest = (float(end) for end in stats.chi(size).interval(TYPICAL))

    def keep(points: Tensor) -> Tensor:
        length = points.norm(dim=1, keepdim=True)
        kept: Tensor = points * (length.clamp(shortest, longest) / length)
        return kept

    return Space(*where, math.sqrt(size), generator, keep)


def project(space: Space, images: Tensor, distance: SquaredDistance, seed: int) -> Iterator[Nearest]:
    """Find the nearest drawing to each image, one after the other.

    Args:
        space: From `open_space`.
        images: (N, C, S, S) in [-1, 1], without masks, of the generator's side.
        distance: The distance to minimise.
        seed: Seed of the noise added to points.
    """
    if not len(images):
        return
    images = images.to(space.points.device)
    channels = images.shape[1]

    def embed_image(drawn: Tensor) -> Tensor:
        return embed(distance, drawn[:, :channels])

    with torch.no_grad():
        goals = torch.cat([embed_image(part) for part in images.split(1)])
        starts = _nearest_points(space, goals, embed_image)
    for vector, own in zip(goals, starts, strict=True):
        goal = _Goal(vector, embed_image)
        chance = torch.Generator(space.points.device).manual_seed(derive_seed(seed, "projection noise"))
        candidates = _Candidates(space.points[own], None if space.labels is None else space.labels[own])
        best = _nearest_of(space, candidates, goal)
        for steps in (range(STEPS // 3), range(STEPS // 3, STEPS)):
            candidates = candidates._replace(points=_descend(space, candidates, goal, steps, chance))
            found = _nearest_of(space, candidates, goal)
            best, candidates = min(best, found, key=lambda one: one.distance), found.where
        with torch.no_grad():
            image = space.draw(*best.where)[0].cpu()
        label = None if best.where.labels is None else int(best.where.labels)
        yield Nearest(best.distance, image, label)


def embed(distance: SquaredDistance, images: Tensor) -> Tensor:
    """Return vectors (N, E) of images (N, C, S, S), without masks, whose squared distances are minimised."""
    images = images.float()
    # Clamped to [-1, 1] like pixels, but gradients pass: values outside must be able to return.
    images = images + (images.clamp(-1, 1) - images).detach()
    if images.shape[2] > LARGEST:
        images = interpolate(images, (LARGEST, LARGEST), mode="area")
    return distance.embed(images)


class _Candidates(NamedTuple):
    points: Tensor  # (N, D)
    labels: Tensor | None  # (N,)


class _Best(NamedTuple):
    distance: float
    where: _Candidates  # one


class _Goal(NamedTuple):
    vector: Tensor  # (E,)
    embed: Callable[[Tensor], Tensor]


def _nearest_points(space: Space, goals: Tensor, embed: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the places of the points whose drawings are nearest to each goal (N, E): (N, STARTS)."""
    tables = []
    for first in range(0, len(space.points), CPU_BATCH):
        part = slice(first, first + CPU_BATCH)
        drawn = embed(space.draw(space.points[part], None if space.labels is None else space.labels[part]))
        tables.append(torch.cdist(goals, drawn))
    return torch.cat(tables, 1).topk(min(STARTS, len(space.points)), dim=1, largest=False).indices


@torch.no_grad()
def _nearest_of(space: Space, candidates: _Candidates, goal: _Goal) -> _Best:
    """Return the candidate whose drawing is nearest to the goal."""
    distances = (goal.embed(space.draw(*candidates)) - goal.vector).square().sum(1)
    place = slice(int(distances.argmin()), int(distances.argmin()) + 1)
    points, labels = candidates
    return _Best(float(distances.min()), _Candidates(points[place], None if labels is None else labels[place]))


def _descend(space: Space, candidates: _Candidates, goal: _Goal, steps: range, chance: torch.Generator) -> Tensor:
    """Move each candidate to where its drawing is nearer to the goal: (N, D)."""
    points = candidates.points.clone().requires_grad_()
    optimiser = torch.optim.Adam([points])
    for step in steps:
        share = step / STEPS
        rate = min(1.0, share / RAMPS[0], 0.5 - 0.5 * math.cos(math.pi * min(1.0, (1 - share) / RAMPS[1])))
        optimiser.param_groups[0]["lr"] = RATE * rate
        strength = space.spread * NOISE[0] * max(0.0, 1 - share / NOISE[1]) ** 2
        noise = torch.randn(points.shape, generator=chance, device=points.device)
        drawn = space.draw(points + strength * noise, candidates.labels)
        optimiser.zero_grad()
        (goal.embed(drawn) - goal.vector).square().sum().backward()
        optimiser.step()
        with torch.no_grad():
            points.copy_(space.keep(points))
    return points.detach()
