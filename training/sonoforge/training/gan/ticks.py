"""What is measured, written and said at each tick of a training."""

from __future__ import annotations

import contextlib
import json
import math
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sonoforge.runtime.distances.fid import frechet_distance
from sonoforge.runtime.distances.kid import kernel_distance
from sonoforge.training.gan.diversity import mean_pairwise_distance, sliced_distance, thumbnails
from sonoforge.training.gan.draws import draw_latents, evenly_spaced
from sonoforge.training.gan.images import to_tensor, to_unit
from sonoforge.training.gan.networks import generate, latent_distribution, latent_size
from sonoforge.training.gan.players import Players
from sonoforge.training.gan.training_set import TrainingSet
from sonoforge.training.metrics.features import Features

GRID = 64  # images in a sample grid, and in the batch whose diversity is measured
REFERENCE = 1024  # real images at most that samples are compared with
EMBEDDED = 500  # real and generated images at most that KID and FID are measured on at a tick
_PORTION = 32  # images embedded at a time


class Reference(NamedTuple):
    """What every tick compares with, made once.

    Attributes:
        thumbnails: (N, T * T) of real images.
        spread: Their mean pairwise distance.
        latents: (GRID, Z), the same at every tick.
        labels: (GRID,) classes of the grid in equal shares, or None.
        features: Network of KID and FID, or None.
        embedded: (M, D) embeddings of real images, empty without a network.
        metric_latents: (M, Z) of the generated images that are embedded.
        metric_labels: (M,) their classes, as the real ones', or None.
    """

    thumbnails: Tensor
    spread: float
    latents: Tensor
    labels: Tensor | None
    features: Features | None
    embedded: Tensor
    metric_latents: Tensor
    metric_labels: Tensor | None


def make_reference(images: TrainingSet, generator: nn.Module, features: Features | None, seed: int) -> Reference:
    """Prepare what ticks compare with.

    Args:
        images: The real ones.
        generator: Tells the latents' length and distribution.
        features: Network of KID and FID, or None.
        seed: Of the fixed latents.
    """
    device = next(generator.parameters()).device
    some = evenly_spaced(len(images), REFERENCE)
    shown = to_unit(to_tensor(images.pixels[some]))[:, : images.image_channels]
    real = thumbnails(shown)
    size, distribution = latent_size(generator), latent_distribution(generator)
    classes = 0 if images.labels is None else len(images.classes)
    labels = (torch.arange(GRID, device=device) * classes // GRID) if classes else None
    embedded, metric_labels = torch.empty(0, 0), None
    if features is not None:
        some = evenly_spaced(len(images), EMBEDDED)
        embedded = embed(features, to_unit(to_tensor(images.pixels[some]))[:, : images.image_channels])
        metric_labels = None if images.labels is None else torch.from_numpy(images.labels[some]).to(device)
    return Reference(
        real,
        mean_pairwise_distance(real),
        draw_latents(GRID, size, seed, "grid", 0, distribution).to(device),
        labels,
        features,
        embedded,
        draw_latents(len(embedded), size, seed, "metric", 0, distribution).to(device),
        metric_labels,
    )


@torch.inference_mode()
def embed(features: Features, images: Tensor) -> Tensor:
    """Embed images (N, C, S, S) in [-1, 1] on the network's device: (N, D) on the CPU."""
    device = next(features.module.parameters()).device
    return torch.cat([features.embed(part.to(device)).cpu() for part in images.split(_PORTION)])


def measure(average: nn.Module, reference: Reference, image_channels: int) -> tuple[Tensor, dict[str, float]]:
    """Judge the averaged generator: the grid's images (GRID, C, S, S), and its figures by name.

    ``diversity`` and ``distance``: see `diversity`.  With a feature network ``kid``, its standard error, and ``fid``
    between equal numbers of real and generated images.
    """
    samples = generate(average, reference.latents, reference.labels)
    small = thumbnails(samples[:, :image_channels]).cpu()
    figures = {
        "diversity": mean_pairwise_distance(small) / max(reference.spread, 1e-12),
        "distance": sliced_distance(small, reference.thumbnails),
    }
    if reference.features is not None:
        labels = reference.metric_labels
        parts = zip(
            reference.metric_latents.split(_PORTION),
            [None] * len(reference.metric_latents) if labels is None else labels.split(_PORTION),
            strict=False,
        )
        made = torch.cat(
            [
                embed(reference.features, generate(average, latents, own)[:, :image_channels].clamp(-1, 1))
                for latents, own in parts
            ]
        )
        name = reference.features.name
        kid = kernel_distance(made.numpy(), reference.embedded.numpy(), name)
        figures |= {"kid": kid.value, "kid_standard_error": kid.standard_error}
        figures["fid"] = frechet_distance(made.numpy(), reference.embedded.numpy(), name).value
    return samples, figures


def gradient_norm(players: Players, network: nn.Module) -> float | None:
    """Euclidean norm of the gradients of the network's last step, after any scaling for float16 is undone.

    None where they overflowed float16, so that the step was skipped.
    """
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    if not gradients:
        return 0.0
    norm = float(torch.stack(torch._foreach_norm(gradients)).norm())
    norm /= float(players.fabric.strategy.precision.state_dict().get("scale", 1.0))
    return norm if math.isfinite(norm) else None


def memory_gib(device: torch.device) -> float | None:
    """Most memory used so far: of the GPU, or else of the process; None where the system does not tell (Windows)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    if sys.platform == "win32":
        return None
    import resource  # noqa: PLC0415 - POSIX only

    unit = 1 if sys.platform == "darwin" else 1024  # getrusage counts bytes there, kibibytes elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def read_stats(folder: Path, step: int) -> list[dict[str, Any]]:
    """Return the rows of ``stats.jsonl`` up to this step; a killed run may have written further."""
    path = folder / "stats.jsonl"
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        with contextlib.suppress(json.JSONDecodeError):  # a line cut short by the kill
            rows.append(json.loads(line))
    return [row for row in rows if row["step"] <= step]


def stalled(rows: list[dict[str, Any]], ticks: int) -> bool:
    """Whether KID has not fallen below its lowest value for so many ticks."""
    values = [row["kid"] for row in rows if math.isfinite(row.get("kid", math.nan))]
    return len(values) > ticks and len(values) - 1 - int(np.argmin(values)) >= ticks
