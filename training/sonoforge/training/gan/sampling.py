"""The real images of each step: which, how they are flipped and distorted, and which process trains on them.

Everything is drawn from (seed, purpose, step) for the whole batch, of which each process takes its part.  So a resumed
run repeats itself, and the batch does not depend on the number of processes.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import grid_sample

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.seeds import derive_seed
from sonoforge.training.data.pixels import to_unit


@dataclass(frozen=True)
class AffineRanges:
    """Ranges of a random affine distortion of real images; each part is drawn uniformly from minus to plus its range.

    Unlike an augmentation of the discriminator's input it changes the data: generated images show it, too.  The
    defaults keep anatomy plausible and most of the picture in view; they are this project's choice, the method that of
    Berezsky and Liashchynskyi 2024.
    """

    rotation: float = 15.0  # degrees
    scale: float = 0.1  # relative; the factor is log-uniform from 1 / (1 + scale) to 1 + scale
    shift: float = 0.05  # share of the side, in both directions
    shear: float = 8.0  # degrees


def affine_matrices(draws: NDArray[np.float64], ranges: AffineRanges) -> Tensor:
    """Convert uniform draws to maps from points of the result to points of the image.

    The image is sheared, scaled, rotated about its centre, then shifted.

    Args:
        draws: (N, 5) in [-1, 1]: rotation, scale, shear, shift across, shift down.
        ranges: The values at a draw of 1.

    Returns:
        (N, 2, 3) float32, in coordinates where the image spans -1..1, x before y.
    """
    angle = np.radians(ranges.rotation) * draws[:, 0]
    factor = (1 + ranges.scale) ** draws[:, 1]
    slope = np.tan(np.radians(ranges.shear) * draws[:, 2])
    turn = np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], axis=1).reshape(-1, 2, 2)
    shear = np.tile(np.eye(2), (len(draws), 1, 1))
    shear[:, 0, 1] = slope
    inverse = np.linalg.inv(factor[:, None, None] * turn @ shear)
    shift = 2 * ranges.shift * draws[:, 3:, None]  # the side is 2 long
    return torch.from_numpy(np.concatenate([inverse, -inverse @ shift], axis=2).astype(np.float32))


def draw_affine(count: int, ranges: AffineRanges, seed: int, step: int) -> Tensor:
    """Draw the (count, 2, 3) maps of one step's batch from (seed, step) alone."""
    rng = np.random.default_rng(derive_seed(seed, "affine", step))
    return affine_matrices(rng.uniform(-1, 1, (count, 5)), ranges)


def warp(images: Tensor, matrices: Tensor, image_channels: int) -> Tensor:
    """Move images and their masks with bilinear interpolation and a reflected border.

    Args:
        images: (N, C, S, S) float in [-1, 1].
        matrices: (N, 2, 3) from `affine_matrices`.
        image_channels: Channels from here on are masks: they stay -1 or 1.

    Returns:
        (N, C, S, S) float.
    """
    side = images.shape[3]
    places = (torch.arange(side, device=images.device, dtype=images.dtype) * 2 + 1) / side - 1  # centres of pixels
    maps = matrices.to(images)[:, None, None]
    # Not affine_grid: its matrix product may run in TF32, whose 10 bits are a tenth of a pixel at side 224.
    grid = maps[..., 0] * places[:, None] + maps[..., 1] * places[:, None, None] + maps[..., 2]
    moved = grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    masks = moved[:, image_channels:]
    masks.copy_(masks.ge(0).to(masks) * 2 - 1)
    return moved


@dataclass(frozen=True)
class Sampling:
    """How batches of real images are made."""

    batch: int  # images per step, of all processes together
    seed: int
    balanced: bool = False  # whether to show every class equally often, however few images it has
    # Whether the set is doubled by left-right flips, so that an epoch shows each image both ways (Karras et al.,
    # "Training Generative Adversarial Networks with Limited Data", NeurIPS 2020: x-flips).
    mirror: bool = False
    affine: AffineRanges | None = None  # ranges of a random distortion of every image shown, or None


@dataclass(frozen=True, eq=False)
class DeviceImages:
    """The training images on the device that trains."""

    pixels: Tensor  # (N, C, S, S) uint8
    labels: NDArray[np.int64] | None  # (N,) int64, or None for an unconditional training
    image_channels: int  # channels that are image; those after them are masks


def draw_real(
    images: DeviceImages, sampling: Sampling, step: int, rank: int = 0, world: int = 1
) -> tuple[Tensor, Tensor | None]:
    """Return a process's part of a step's real images, (n, C, S, S) float in [-1, 1], and their labels (n,) int64.

    Raises:
        SonoforgeError: See `process_slice`.
    """
    pixels, labels = images.pixels, images.labels
    part = process_slice(sampling.batch, rank, world)
    drawn = choose_images(sampling, len(pixels), labels, step)[part]
    chosen, flipped = drawn % len(pixels), torch.from_numpy(drawn >= len(pixels)).to(pixels.device)
    real = to_unit(pixels[torch.from_numpy(chosen).to(pixels.device)])
    if sampling.mirror:
        real = torch.where(flipped[:, None, None, None], real.flip(3), real)
    if sampling.affine is not None:
        distortion = draw_affine(sampling.batch, sampling.affine, sampling.seed, step)[part]
        real = warp(real, distortion, images.image_channels)
    return real, None if labels is None else torch.from_numpy(labels[chosen]).to(pixels.device)


def choose_images(sampling: Sampling, images: int, labels: NDArray[np.int64] | None, step: int) -> NDArray[np.int64]:
    """Choose the images of one step for all processes: (batch,) in [0, N); with ``mirror`` N + i is image i flipped."""
    ways = 2 if sampling.mirror else 1
    if sampling.balanced and labels is not None:
        return balanced_indices(np.tile(labels, ways), sampling.batch, sampling.seed, step)
    return batch_indices(images * ways, sampling.batch, sampling.seed, step)


def balanced_indices(labels: NDArray[np.int64], batch: int, seed: int, step: int) -> NDArray[np.int64]:
    """Choose a step's images so that every class is shown equally often.

    The draws form an endless row of rounds, cut into batches.  A round holds one image of each of the K classes in a
    shuffled order, and the images of a class follow shuffled epochs of their own.  So in any K * m consecutive draws
    each class appears m - 1, m or m + 1 times.
    """
    classes = np.unique(labels)
    first, end = step * batch // len(classes), -((step + 1) * batch // -len(classes))
    order = [
        np.random.default_rng(derive_seed(seed, "class order", number)).permutation(len(classes))
        for number in range(first, end)
    ]
    table = np.stack([
        np.flatnonzero(labels == label)[
            shuffled_epochs(int((labels == label).sum()), first, end, seed, f"order of class {label}")
        ]
        for label in classes
    ])  # fmt: skip
    row = np.concatenate([table[drawn, number] for number, drawn in enumerate(order)])
    start = step * batch - first * len(classes)
    return row[start : start + batch].astype(np.int64)


def process_slice(batch: int, rank: int, world: int) -> slice:
    """Return the part of a batch that a process works on: contiguous, and as large as any other.

    Raises:
        SonoforgeError: The batch cannot be divided evenly, so that the mean of the processes' gradients would weigh
            images differently.
    """
    if batch % world:
        raise SonoforgeError(
            f"batch: found {batch} on {world} processes, expected a multiple of {world}; "
            f"give batch {-(batch // -world) * world}"
        )
    share = batch // world
    return slice(rank * share, (rank + 1) * share)


def batch_indices(images: int, batch: int, seed: int, step: int) -> NDArray[np.int64]:
    """Return the images of the batch of this step: (batch,) int64 in [0, N).

    The images form an endless row of shuffled epochs, cut into batches: a batch may straddle two epochs, or hold
    several.
    """
    return shuffled_epochs(images, step * batch, (step + 1) * batch, seed, "order")


def shuffled_epochs(count: int, begin: int, end: int, seed: int, purpose: str) -> NDArray[np.int64]:
    """Return items ``begin`` to ``end`` (exclusive, above ``begin``) of an endless row of shuffled 0..count-1."""
    first, last = begin // count, (end - 1) // count
    orders = [
        np.random.default_rng(derive_seed(seed, purpose, epoch)).permutation(count) for epoch in range(first, last + 1)
    ]
    return np.concatenate(orders)[begin - first * count : end - first * count].astype(np.int64)
