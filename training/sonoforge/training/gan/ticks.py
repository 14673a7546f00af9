"""Measure at each tick of a training run, and read and write the rows of ``stats.jsonl``."""

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
from sonoforge.training.data.pixels import to_pixels, to_tensor, to_unit
from sonoforge.training.data.selection import evenly_spaced
from sonoforge.training.evaluation.spaces import Space
from sonoforge.training.gan.generator import draw_latents, generate_parts
from sonoforge.training.gan.training_set import TrainingSet

GRID = 64  # images in a sample grid, and in the batch whose diversity is measured
REFERENCE = 1024  # real images at most that samples are compared with


class Reference(NamedTuple):
    """What every tick is compared with, made once."""

    thumbnails: Tensor  # (N, T * T) of real images
    spread: float  # their mean pairwise distance
    latents: Tensor  # (GRID, Z), the same at every tick
    labels: Tensor | None  # (GRID,) classes of the grid in equal shares, or None


def make_reference(images: TrainingSet, generator: nn.Module, seed: int) -> Reference:
    """Prepare what every tick is compared with."""
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

    ``diversity`` is the mean distance between two generated images divided by the mean distance between two real ones:
    1 as in the real images, 0 for one image repeated.  ``distance`` is the sliced Wasserstein distance between
    generated and real images.  Both compare 32x32 grey thumbnails, need no feature network, and cost about one training
    step; they guide a training run, and do not replace FID or KID (`measure_metrics`).
    """
    samples = torch.cat([*generate_parts(average, reference.latents, reference.labels)])
    small = thumbnails(samples[:, :image_channels]).cpu()
    return samples, {
        "diversity": mean_pairwise_distance(small) / max(reference.spread, 1e-12),
        "distance": sliced_distance(small, reference.thumbnails),
    }


def gradient_norm(network: nn.Module) -> float | None:
    """Return the Euclidean norm of the gradients in a network's last step; None if it is not finite."""
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    norm = float(torch.nn.utils.get_total_norm(gradients))
    return norm if math.isfinite(norm) else None


def memory_gib(device: torch.device) -> float | None:
    """Return the peak memory of the GPU, or else of the process; None if the system cannot tell (Windows)."""
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else peak_memory()
    return None if peak is None else peak / 2**30


def read_stats(folder: Path, step: float = math.inf) -> list[dict[str, Any]]:
    """Return the rows of ``stats.jsonl``, if any, up to this step; a killed run may have written further."""
    path = folder / "stats.jsonl"
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        with contextlib.suppress(json.JSONDecodeError):  # a line cut short by the kill
            rows.append(json.loads(line))
    return [row for row in rows if row["step"] <= step]


def training_seconds(rows: Sequence[Mapping[str, Any]]) -> float:
    """Add up the seconds of training; steps repeated after a kill count once."""
    before = [0, *(row["step"] for row in rows)]
    return float(sum((row["step"] - last) * row["seconds_per_step"] for row, last in zip(rows, before, strict=False)))


def training_cost(run: Path, step: int) -> dict[str, float | None]:
    """Add up the cost of a training run up to a step: ``seconds_per_kimg``, ``hours`` and ``memory_gib``, its peak.

    Only training counts, not samples, checkpoints or measuring; steps repeated after a kill count once.
    """
    rows = read_stats(run, step)
    seconds = training_seconds(rows)
    peaks = [row["memory_gib"] for row in rows if row["memory_gib"] is not None]
    return {
        "seconds_per_kimg": seconds / rows[-1]["kimg"],
        "hours": seconds / 3600,
        "memory_gib": max(peaks, default=None),
    }


THUMBNAIL = 32
DIRECTIONS = 256
# Share of a training run in which a generator is not judged: an untrained one has not collapsed.
COLLAPSE_GRACE = 0.1


def thumbnails(images: Tensor) -> Tensor:
    """Reduce (N, C, S, S) in [-1, 1] to flattened grey thumbnails (N, T * T), T = min(S, 32)."""
    side = min(images.shape[-1], THUMBNAIL)
    return adaptive_avg_pool2d(images.float().mean(1, keepdim=True), side).flatten(1)


def mean_pairwise_distance(features: Tensor) -> float:
    """Return the mean Euclidean distance between two different rows of (N, D); 0 for a single row."""
    if len(features) < 2:
        return 0.0
    return float(torch.pdist(features).mean())


def sliced_distance(first: Tensor, second: Tensor) -> float:
    """Return the sliced Wasserstein distance of (N, D) and (M, D) along 256 fixed directions; NaN if not finite.

    It is in units of the image range [-1, 1]; a constant shift of all pixels by d gives about 0.8 d, whatever D.
    """
    if not (torch.isfinite(first).all() and torch.isfinite(second).all()):
        return math.nan
    return sliced_wasserstein(first.cpu().numpy(), second.cpu().numpy(), DIRECTIONS, 0)


# KID and FID of the averaged generator choose the best checkpoint, so their reference matters.  Against the *training*
# images a generator that copies them scores best; against *held-out* images it gains nothing by copying.  KID against a
# tenth of 200 images is noisy, but images and latents are the same at each tick, so most of the noise is shared.  As
# absolute figures use those of ``sonoforge evaluate``.
#
# Measuring does not affect the training: latents come from a seed of their own, the averaged generator is in evaluation
# mode, and no global random state is read or written.

GENERATED = 256  # images generated at a tick; a CPU embeds them in 1 s by the shipped network, in 5 s by torch ones
REAL = 500  # real images at most
_MOST_KEPT = 4

# Embeddings of real images by their space and content: a search measures many training runs against the same ones.
_kept: dict[tuple[Space, str], NDArray[np.float32]] = {}


class MetricReference(NamedTuple):
    """The reference for every measurement, made once."""

    metrics: tuple[str, ...]  # any of `settings.METRICS`
    space: Space  # feature space of the distances
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
    shown = real.pixels[some, ..., : real.image_channels]
    key = space, hashlib.sha256(repr(shown.shape).encode() + shown.tobytes()).hexdigest()
    if key not in _kept:
        if len(_kept) == _MOST_KEPT:
            _kept.clear()
        _kept[key] = space.embed(shown).features
    labels = None
    if training.labels is not None and real.labels is not None:
        # Place i takes the label of the real image at the same share of the way, so each class gets its share.
        order = np.sort(real.labels[some])
        labels = torch.from_numpy(order[np.arange(GENERATED) * len(order) // GENERATED]).to(device)
    return MetricReference(
        metrics,
        space,
        _kept[key],
        "training" if held_out is None else "held-out",
        draw_latents(generator, GENERATED, seed, "metric").to(device),
        labels,
    )


def measure_metrics(average: nn.Module, reference: MetricReference, image_channels: int) -> dict[str, Any]:
    """Measure the averaged generator against the reference.

    Returns:
        ``kid`` and ``kid_standard_error``, ``fid``, as requested, and their protocol: ``metric_features`` (name of the
        space), ``metric_reference`` (``held-out`` or ``training``), ``metric_real`` and ``metric_generated`` (numbers
        of images).
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
