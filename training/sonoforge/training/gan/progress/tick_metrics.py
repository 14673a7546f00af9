"""KID and FID of the averaged generator while it trains, in a feature space of the user's choice.

They choose the checkpoint that is called the best, so what they are measured against matters.  Against the
*training* images a generator that copies them scores best; against images that were *held out* it gains nothing
by copying.  A tenth of a class of 200 images is 20, and KID against 20 images is noisy; but the images and the
latents are the same at each tick, so most of the noise is shared and ticks can be compared with each other.
As absolute figures use those of ``sonoforge evaluate``.

Nothing here touches the training: latents come from a seed of their own, the averaged generator is in evaluation
mode, and no global random state is read or written.
"""

import hashlib
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sonoforge.runtime.distances.fid import frechet_distance
from sonoforge.runtime.distances.kernel import kernel_distance
from sonoforge.training.data.pixels import Pixels, to_pixels
from sonoforge.training.data.selection import evenly_spaced
from sonoforge.training.gan.batches.sampling import draw_latents
from sonoforge.training.gan.batches.training_set import TrainingSet
from sonoforge.training.gan.generator import CPU_BATCH, generate, latent_distribution, latent_size
from sonoforge.training.metrics.spaces import Space

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
        draw_latents(GENERATED, latent_size(generator), seed, "metric", 0, latent_distribution(generator)).to(device),
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
    parts = range(0, len(reference.latents), CPU_BATCH)
    made = np.concatenate([_embed_generated(average, reference, first, image_channels) for first in parts])
    name = reference.space.name
    if "kid" in reference.metrics:
        kid = kernel_distance(made, reference.embedded)
        figures |= {"kid": kid.value, "kid_standard_error": kid.standard_error}
    if "fid" in reference.metrics:
        figures["fid"] = frechet_distance(made, reference.embedded)
    return figures | {
        "metric_features": name,
        "metric_reference": reference.kind,
        "metric_real": len(reference.embedded),
        "metric_generated": len(made),
    }


def _embed_generated(
    average: nn.Module, reference: MetricReference, first: int, image_channels: int
) -> NDArray[np.float32]:
    part = slice(first, first + CPU_BATCH)
    labels = None if reference.labels is None else reference.labels[part]
    pixels = to_pixels(generate(average, reference.latents[part], labels))
    return reference.space.embed(pixels[..., :image_channels]).features
