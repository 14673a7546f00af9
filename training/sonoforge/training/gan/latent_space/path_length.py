"""How much, and how evenly, images change along paths between two latents.

Karras, Laine, Aila, "A Style-Based Generator Architecture for Generative Adversarial Networks", CVPR 2019, section 4.1:
the perceptual path length is the mean of

    d(g(p(t)), g(p(t + epsilon))) / epsilon^2,    epsilon = 1e-4, t uniform in [0, 1),

over pairs of latents, where p is the arc between both latents (z) or the line between both styles (w), and d a squared
distance of images.  A path is long if something appears on it that is at neither end.  The paper's d is LPIPS; without
that network it is the mean squared difference of pixels in [-1, 1], a figure with its own name.  Unlike in the paper,
images are not cropped, and no pair is dropped, however extreme.
"""

import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter
from numpy.typing import NDArray
from torch import Tensor, nn

from sonoforge.models.stylegan.generator import has_styles
from sonoforge.runtime.images.synthetic import png_text
from sonoforge.runtime.inference.latents import between
from sonoforge.runtime.seeds import derive_seed
from sonoforge.training.evaluation.lpips import Lpips, embed, embed_for_gradients
from sonoforge.training.gan.generator import (
    CPU_BATCH,
    draw_latents,
    generate_parts,
    label_batch,
    latent_distribution,
    map_latents,
    synthesise,
)
from sonoforge.training.gan.latent_space.sheets import NOTE, PROGRAM

EPSILON = 1e-4


@dataclass(frozen=True)
class SquaredDistance:
    """A squared distance of images."""

    name: str  # in full, for the record
    root_name: str  # of its root, for an axis of a figure
    figure: str  # name of its path length
    # Images (N, C, S, S) in [-1, 1] of two sets to the squared distance of each pair, (N,).
    measure: Callable[[Tensor, Tensor], NDArray[np.float64]]
    # Images to vectors (N, E) whose squared Euclidean distances it is; gradients flow through them.
    embed: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class PathLength:
    """A figure and its protocol."""

    space: str  # `z` or `w`
    mean: float  # over all pairs
    standard_error: float  # of the mean; NaN for a single pair
    median: float  # over all pairs, robust to a few long paths
    samples: int
    protocol: str  # distance and path, in words
    values: NDArray[np.float64]  # (samples,) of the pairs


PIXEL_DISTANCE = SquaredDistance(
    "mean squared difference of pixels in [-1, 1]",
    "root mean squared difference of pixels",
    "pixel path length",
    lambda first, second: np.asarray((first - second).double().square().mean((1, 2, 3)).cpu().numpy()),
    lambda images: images.flatten(1) / math.sqrt(images[0].numel()),
)


def perceptual_distance(lpips: Lpips, image_channels: int) -> SquaredDistance:
    """Return LPIPS as a distance of images; their channels from ``image_channels`` on are masks and ignored."""

    def measure(first: Tensor, second: Tensor) -> NDArray[np.float64]:
        difference = embed(lpips, first[:, :image_channels]) - embed(lpips, second[:, :image_channels])
        return np.asarray(difference.double().square().sum(1).cpu().numpy())

    def for_gradients(images: Tensor) -> Tensor:
        return embed_for_gradients(lpips, images[:, :image_channels])

    return SquaredDistance(lpips.name, "LPIPS, root", "perceptual path length", measure, for_gradients)


def spaces(generator: nn.Module) -> tuple[str, ...]:
    """Return the spaces of a generator's paths: ``z``, the latents, and for a StyleGAN ``w``, the styles."""
    return ("z", "w") if has_styles(generator) else ("z",)


def walk(generator: nn.Module, space: str, ends: Tensor, shares: Tensor, label: int | None = None) -> Tensor:
    """Generate images (N, T, C, S, S) along N paths between latents (N, 2, Z), at ``shares`` (N, T) of each, 0 to 1.

    Latents and shares are on the CPU.
    """
    pairs = len(shares)
    if space == "w":
        styles = map_latents(generator, ends.flatten(0, 1).float(), label).double().unflatten(0, (pairs, 2))
        points = torch.lerp(styles[:, :1], styles[:, 1:], shares.double()[:, :, None, None].to(styles.device))
    else:
        distribution = latent_distribution(generator)
        rows = zip(ends.numpy(), shares.numpy(), strict=True)
        points = torch.from_numpy(np.stack([between(own[0], own[1], share, distribution) for own, share in rows]))
    points = points.flatten(0, 1).float().to(next(generator.parameters()).device)
    if space == "w":
        images = synthesise(generator, points)
    else:
        images = torch.cat([*generate_parts(generator, points, label_batch(generator, label, len(points)))])
    together: Tensor = images.unflatten(0, tuple(shares.shape))
    return together


def step_sizes(images: Tensor, distance: SquaredDistance) -> NDArray[np.float64]:
    """Return the distances, not squared, of neighbours on N paths: (N, T, C, S, S) to (N, T - 1)."""
    return np.sqrt(np.stack([distance.measure(own[:-1], own[1:]) for own in images]))


def unevenness(steps: NDArray[np.float64]) -> float | None:
    """Return the mean over N paths of the deviation over the mean of the steps (N, T - 1); None if none moves."""
    means = steps.mean(1)
    moving = means > 0
    return float((steps.std(1)[moving] / means[moving]).mean()) if moving.any() else None


def measure_path_length(
    generator: nn.Module,
    space: str,
    distance: SquaredDistance,
    samples: int,
    seed: int,
    label: int | None = None,
) -> PathLength:
    """Measure the path length over random pairs of latents."""
    latents = draw_latents(generator, 2 * samples, seed, "path ends")
    chance = np.random.default_rng(derive_seed(seed, "path places"))
    # In double precision: in single, t + epsilon is off by as much as 1/2000 of epsilon.
    positions = torch.from_numpy(chance.random(samples) * (1 - EPSILON))
    pairs = latents.unflatten(0, (samples, 2)).double()
    values = []
    for ends, starts in zip(pairs.split(CPU_BATCH), positions.split(CPU_BATCH), strict=True):
        images = walk(generator, space, ends, torch.stack([starts, starts + EPSILON], 1), label)
        values.append(distance.measure(images[:, 0], images[:, 1]) / EPSILON**2)
    found = np.concatenate(values)
    error = float(found.std(ddof=1)) / math.sqrt(samples) if samples > 1 else math.nan
    path = "the line between two styles" if space == "w" else "the path between two latents"
    protocol = (
        f"mean of {distance.name} / epsilon^2, epsilon {EPSILON:g}, at a random point of {path}, no image cropped or "
        "dropped"
    )
    return PathLength(space, float(found.mean()), error, float(np.median(found)), samples, protocol, found)


# Okabe, Ito, "Color Universal Design", 2008: distinguishable with all common kinds of colour vision.
_COLOURS = {"z": "#0072b2", "w": "#c25100"}
_DASHES = {"z": "-", "w": "--"}
_STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "text.parse_math": False,
}


def draw_paths(
    lengths: Sequence[PathLength], steps: Mapping[str, NDArray[np.float64]], distance: SquaredDistance
) -> Figure:
    """Draw the distance between neighbours along paths, and the distribution of path lengths."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(9, 3.6), layout="constrained")
        left, right = figure.subplots(1, 2)
        for space, sizes in steps.items():
            positions = (np.arange(sizes.shape[1]) + 0.5) / sizes.shape[1]
            left.fill_between(positions, sizes.min(0), sizes.max(0), color=_COLOURS[space], alpha=0.15, linewidth=0)
            label = f"{space}: mean, lowest and highest of {len(sizes)} paths"
            left.plot(positions, sizes.mean(0), _DASHES[space], color=_COLOURS[space], linewidth=1.5, label=label)
        left.set(xlabel="position on the path", ylabel=f"{distance.root_name}\nof neighbours", ylim=(0, None))
        left.set(xlim=(0, 1))
        left.set_title("Step by step: level is even", loc="left", fontsize=9.5)
        left.legend(loc="best", fontsize=8)
        positive = np.concatenate([length.values[length.values > 0] for length in lengths])
        if len(positive) and positive.max() > positive.min():
            bins = list(np.geomspace(positive.min(), positive.max(), 21))
            for length in lengths:
                label = f"{length.space}: mean {length.mean:.3g} (standard error {length.standard_error:.1g})"
                style = {"linestyle": _DASHES[length.space], "color": _COLOURS[length.space], "linewidth": 1.5}
                right.hist(length.values, bins=bins, histtype="step", label=label, **style)
            right.set_xscale("log")
            right.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            right.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            right.xaxis.set_minor_formatter(NullFormatter())
            right.legend(loc="upper left", fontsize=8)
            right.set_ylim(top=right.get_ylim()[1] * 1.3)
        right.set(xlabel=distance.figure, ylabel="pairs of latents")
        right.set_title(f"{distance.figure}, {lengths[0].samples} pairs: lower is smoother", loc="left", fontsize=9.5)
        figure.suptitle(f"Paths between {NOTE[0].lower()}{NOTE[1:]}", fontsize=9)
    return figure


def figure_png(figure: Figure, origin: Mapping[str, Any]) -> bytes:
    """Encode a figure as PNG with its origin as text."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=150, pil_kwargs={"pnginfo": png_text(origin, PROGRAM)})
    return stream.getvalue()
