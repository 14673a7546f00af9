"""What is measured at each tick of a training, and the rows of ``stats.jsonl``."""

import contextlib
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from sonoforge.runtime.distances.fid_kid import frechet_distance, kernel_distance
from sonoforge.runtime.distances.sliced import sliced_wasserstein
from sonoforge.runtime.machine import peak_memory
from sonoforge.training.data.pixels import Pixels, to_pixels, to_tensor, to_unit
from sonoforge.training.data.selection import evenly_spaced
from sonoforge.training.evaluation import COLLAPSE_FRACTION
from sonoforge.training.evaluation.spaces import Space
from sonoforge.training.gan.generator import draw_latents, generate_parts
from sonoforge.training.gan.state import TrainingState
from sonoforge.training.gan.training_set import TrainingSet

GRID = 64  # images in a sample grid, and in the batch whose diversity is measured
REFERENCE = 1024  # real images at most that samples are compared with


class Reference(NamedTuple):
    """What every tick compares with, made once."""

    thumbnails: Tensor  # (N, T * T) of real images
    spread: float  # their mean pairwise distance
    latents: Tensor  # (GRID, Z), the same at every tick
    labels: Tensor | None  # (GRID,) classes of the grid in equal shares, or None


def make_reference(images: TrainingSet, generator: nn.Module, seed: int) -> Reference:
    """Prepare what ticks compare with."""
    device = next(generator.parameters()).device
    some = evenly_spaced(len(images), REFERENCE)
    shown = to_unit(to_tensor(images.pixels[some]))[:, : images.image_channels]
    real = thumbnails(shown)
    classes = 0 if images.labels is None else len(images.classes)
    labels = (torch.arange(GRID, device=device) * classes // GRID) if classes else None
    latents = draw_latents(generator, GRID, seed, "grid").to(device)
    return Reference(real, mean_pairwise_distance(real), latents, labels)


def measure(average: nn.Module, reference: Reference, image_channels: int) -> tuple[Tensor, dict[str, float]]:
    """Assess the averaged generator: the grid's images (GRID, C, S, S), and its figures by name.

    ``diversity`` and ``distance``: see below.  For KID and FID see `measure_metrics`.
    """
    samples = torch.cat([*generate_parts(average, reference.latents, reference.labels)])
    small = thumbnails(samples[:, :image_channels]).cpu()
    return samples, {
        "diversity": mean_pairwise_distance(small) / max(reference.spread, 1e-12),
        "distance": sliced_distance(small, reference.thumbnails),
    }


def gradient_norm(state: TrainingState, network: nn.Module) -> float | None:
    """Euclidean norm of the gradients of the network's last step, after any scaling for float16 is undone.

    None where they overflowed float16, so that the step was skipped.
    """
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    if not gradients:
        return 0.0
    norm = float(torch.stack(torch._foreach_norm(gradients)).norm())
    norm /= float(state.fabric.strategy.precision.state_dict().get("scale", 1.0))
    return norm if math.isfinite(norm) else None


def memory_gib(device: torch.device) -> float | None:
    """Most memory used so far: of the GPU, or else of the process; None where the system does not tell (Windows)."""
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else peak_memory()
    return None if peak is None else peak / 2**30


def read_stats(folder: Path, step: int) -> list[dict[str, Any]]:
    """Return the rows of ``stats.jsonl`` up to this step; a killed run may have written further."""
    path = folder / "stats.jsonl"
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        with contextlib.suppress(json.JSONDecodeError):  # a line cut short by the kill
            rows.append(json.loads(line))
    return [row for row in rows if row["step"] <= step]


def training_cost(run: Path, step: int) -> dict[str, float | None]:
    """Sum up what a training took up to a step: ``seconds_per_kimg``, ``hours`` and ``memory_gib``, its peak.

    Seconds of training alone: neither samples and checkpoints nor measuring.  Steps that a killed run lost and trained
    again count once.
    """
    rows = read_stats(run, step)
    before = [0, *[row["step"] for row in rows[:-1]]]
    seconds = sum((row["step"] - last) * row["seconds_per_step"] for row, last in zip(rows, before, strict=True))
    peaks = [row["memory_gib"] for row in rows if row["memory_gib"] is not None]
    return {
        "seconds_per_kimg": seconds / rows[-1]["kimg"],
        "hours": seconds / 3600,
        "memory_gib": max(peaks, default=None),
    }


def stalled(rows: Sequence[Mapping[str, Any]], patience: int, interval: int) -> bool:
    """Whether KID has not fallen below its lowest value for ``patience`` measurements.

    Those on an interruption, at a step that is no multiple of ``interval``, do not count: a training that is
    interrupted and continued stops where an uninterrupted one stops.
    """
    values = [row["kid"] for row in rows if "kid" in row and row["step"] % interval == 0]
    return len(values) > patience and len(values) - 1 - int(np.argmin(values)) >= patience


# Both numbers look at 32x32 area-averaged grey-level thumbnails, need no feature network, and cost about as
# much as one training step.  They guide a training; they are no substitute for FID, KID or a judge.
#
# *Diversity*: the mean distance between two generated images, as a share of the mean distance between
# two real ones.  1 is what the real images have; 0 is one image repeated.
#
# *Distance*: the sliced Wasserstein distance between generated and real thumbnails
# (`sonoforge.runtime.distances.sliced`, which also takes it of patches of a Laplacian pyramid).
# In units of the image range [-1, 1]; a direction of length 1 spreads over all D pixels, about 1 / sqrt(D) to each,
# so that a constant shift of all pixels by d gives about 0.8 d, whatever D.

THUMBNAIL = 32
DIRECTIONS = 256
# An untrained generator is not a collapsed one: it is not judged in the first tenth of a training.
COLLAPSE_GRACE = 0.1


def thumbnails(images: Tensor) -> Tensor:
    """Reduce (N, C, S, S) in [-1, 1] to flattened grey thumbnails (N, T * T), T = min(S, 32)."""
    side = min(images.shape[-1], THUMBNAIL)
    return adaptive_avg_pool2d(images.float().mean(1, keepdim=True), side).flatten(1)


def mean_pairwise_distance(features: Tensor) -> float:
    """Mean Euclidean distance between two different rows of (N, D); 0 for a single row."""
    if len(features) < 2:
        return 0.0
    return float(torch.pdist(features).mean())


def sliced_distance(first: Tensor, second: Tensor) -> float:
    """Sliced Wasserstein distance of rows (N, D) and (M, D) along 256 fixed directions; NaN if any is not finite."""
    if not (torch.isfinite(first).all() and torch.isfinite(second).all()):
        return math.nan
    return sliced_wasserstein(first.cpu().numpy(), second.cpu().numpy(), DIRECTIONS, 0)


def is_collapsed(diversity: float, step: int, steps: int) -> bool:
    """Whether this diversity, at this step of so many, is called a collapse."""
    return step > COLLAPSE_GRACE * steps and diversity < COLLAPSE_FRACTION


# KID and FID of the averaged generator while it trains, in a feature space of the user's choice.
#
# They choose the checkpoint that is called the best, so what they are measured against matters.  Against the
# *training* images a generator that copies them scores best; against images that were *held out* it gains nothing
# by copying.  A tenth of a class of 200 images is 20, and KID against 20 images is noisy; but the images and the
# latents are the same at each tick, so most of the noise is shared and ticks can be compared with each other.
# As absolute figures use those of ``sonoforge evaluate``.
#
# Nothing here touches the training: latents come from a seed of their own, the averaged generator is in evaluation
# mode, and no global random state is read or written.

GENERATED = 256  # images generated at a tick; to embed them takes a CPU 1 s in the shipped network, 5 s in torch ones
REAL = 500  # real images at most
_MOST_KEPT = 4

_kept: dict[tuple[Space, str], NDArray[np.float32]] = {}
"""Embeddings of real images by their space and content: a search measures many trainings against the same."""


class MetricReference(NamedTuple):
    """What the generated images of every measurement are compared with, made once."""

    metrics: tuple[str, ...]  # any of `settings.METRICS`
    space: Space  # where distances are taken
    embedded: NDArray[np.float32]  # (M, D) embeddings of the real images
    kind: str  # `held-out`, or `training` where none are held out
    latents: Tensor  # (GENERATED, Z), the same at every measurement
    labels: Tensor | None  # (GENERATED,) classes in the shares of the real images, or None


def make_metric_reference(
    metrics: tuple[str, ...],
    space: Space,
    training: TrainingSet,
    held_out: TrainingSet | None,
    generator: nn.Module,
    seed: int,
) -> MetricReference:
    """Embed the real images and draw the latents."""
    device = next(generator.parameters()).device
    real = training if held_out is None else held_out
    some = evenly_spaced(len(real), REAL)
    labels = None
    if training.labels is not None and real.labels is not None:
        # Place i takes the label of the real image at the same share of the way: each class gets its share.
        order = np.sort(real.labels[some])
        labels = torch.from_numpy(order[np.arange(GENERATED) * len(order) // GENERATED]).to(device)
    return MetricReference(
        metrics,
        space,
        _embed_real(space, real.pixels[some, ..., : real.image_channels]),
        "training" if held_out is None else "held-out",
        draw_latents(generator, GENERATED, seed, "metric").to(device),
        labels,
    )


def _embed_real(space: Space, images: Pixels) -> NDArray[np.float32]:
    key = space, hashlib.sha256(repr(images.shape).encode() + images.tobytes()).hexdigest()
    if key not in _kept:
        if len(_kept) == _MOST_KEPT:
            _kept.clear()
        _kept[key] = space.embed(images).features
    return _kept[key]


def measure_metrics(average: nn.Module, reference: MetricReference, image_channels: int) -> dict[str, Any]:
    """Measure the averaged generator against the reference.

    Returns:
        ``kid`` and ``kid_standard_error``, ``fid``, whichever are wanted, and their protocol: ``metric_features``
        (name of the space), ``metric_reference`` (``held-out`` or ``training``), ``metric_real`` and
        ``metric_generated`` (numbers of images).
    """
    figures: dict[str, Any] = {}
    parts = generate_parts(average, reference.latents, reference.labels)
    made = np.concatenate([reference.space.embed(to_pixels(part)[..., :image_channels]).features for part in parts])
    if "kid" in reference.metrics:
        kid = kernel_distance(made, reference.embedded)
        figures |= {"kid": kid.value, "kid_standard_error": kid.standard_error}
    if "fid" in reference.metrics:
        figures["fid"] = frechet_distance(made, reference.embedded)
    return figures | {
        "metric_features": reference.space.name,
        "metric_reference": reference.kind,
        "metric_real": len(reference.embedded),
        "metric_generated": len(made),
    }
