"""Read a GAN's training images, of one class or all, with labels and masks on request, and draw each step's batch.

A step's images are drawn from (seed, purpose, step), so a resumed run repeats itself.
"""

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold
from torch import Tensor
from torch.nn.functional import grid_sample

from sonoforge.runtime.errors import SonoforgeError, did_you_mean
from sonoforge.runtime.images.synthetic import cut_structures
from sonoforge.runtime.seeds import derive_seed
from sonoforge.training.data import data_option, labelled_images, load, selection, splits
from sonoforge.training.data.cache import default_folder, open_cache
from sonoforge.training.data.pixels import Pixels, choose_channels, prepare_images, to_pixels, to_tensor, to_unit
from sonoforge.training.evaluation.spaces import SAMPLED
from sonoforge.training.gan.options import ALL, GanSettings
from sonoforge.training.gan.settings import compose
from sonoforge.training.phantom import PHANTOM_IMAGES

HELD_OUT_LEAST = 8  # images; a distance to fewer means next to nothing


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """Images at the size and with the channels of a training run."""

    pixels: Pixels  # (N, S, S, C) uint8: `image_channels`, then one channel a structure where masks are trained jointly
    labels: NDArray[np.int64] | None  # (N,) int64 indices into `classes`; None: training without classes
    classes: tuple[str, ...]  # class names; without labels, the class of all images
    image_channels: int  # 1 (grey) or 3 (RGB)
    name: str = ""  # of the data set
    structures: tuple[str, ...] = ()  # names of the jointly trained masks
    # (N,) int64, equal for images of one scan; None: unknown, each counts as its own scan.
    groups: NDArray[np.int64] | None = None
    # Content hash of each image file by its path, held-out images included; empty for images without files.
    sources: Mapping[str, str] = field(default_factory=dict)
    # (N,) int64: classes that the training does not see, for splits and expansions.
    untold: NDArray[np.int64] | None = None
    originals: Pixels | None = None  # (M, H, W, C) uint8, some of the images before resizing, if known

    def __len__(self) -> int:
        """Return the number N of images."""
        return len(self.pixels)

    @property
    def strata(self) -> NDArray[np.int64]:
        """Return the class of each image, whether training sees it or not; zeros if there is only one."""
        known = self.untold if self.labels is None else self.labels
        return np.zeros(len(self), np.int64) if known is None else known

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 of pixels, labels and class names; equal for training runs that see the same."""
        digest = hashlib.sha256(repr((self.pixels.shape, self.image_channels, self.classes)).encode())
        digest.update(np.ascontiguousarray(self.pixels).data)
        if self.labels is not None:
            digest.update(self.labels.astype("<i8").tobytes())
        return digest.hexdigest()


def make_training_set(
    images: Pixels,
    labels: NDArray[np.int64] | None,
    classes: tuple[str, ...],
    image_size: int,
    channels: str = "auto",
    groups: NDArray[np.int64] | None = None,
) -> TrainingSet:
    """Bring decoded images (N, H, W, 1 or 3) uint8 to the size and the channels of a training run, see `TrainingSet`.

    ``channels`` is ``"1"``, ``"3"`` or ``"auto"``, see `pixels.choose_channels`.

    Raises:
        SonoforgeError: There are no images, or arrays of another kind.
    """
    image_channels = choose_channels(images, channels)
    pixels = prepare_images(images, image_size, image_channels)
    return TrainingSet(pixels, labels, classes, image_channels, groups=groups)


def read_training_set(
    data: tuple[str, ...],
    settings: GanSettings,
    *,
    groups: bool = False,
    groups_from: str = "",
    cache_folder: Path | None = None,
    phantoms: int = PHANTOM_IMAGES,
) -> TrainingSet:
    """Read, through the image cache, the images that a generator with these settings learns from.

    They are of one class, of `ALL` without labels, or all with labels for a class-conditional generator. ``groups``
    finds images of the same scan, see `splits.scan_groups`, which takes seconds for 1000 images; for data and names see
    `load.ImageSource`.

    Raises:
        SonoforgeError: The data or class does not exist, or masks are missing or do not fit.
    """
    recipe = compose(settings)
    size, name = settings.image_size or recipe.image_size, settings.class_name
    folder = cache_folder or default_folder()
    cache = load.load_images(load.ImageSource(data, phantoms, 0, folder, fewest_classes=1, groups_from=groups_from))
    if size > cache.size:
        cache = open_cache(cache.dataset, size, cache_folder)
    classes, labels = cache.dataset.classes, cache.dataset.labels
    if recipe.conditioning == "none":
        every = name == ALL and ALL not in classes
        if not every and name not in classes:
            found = f"{name!r} is not one of" if name else "missing; give one of"
            raise SonoforgeError(f"class_name: {found} {', '.join(classes)}, or {ALL}{did_you_mean(name, classes)}")
        chosen = np.arange(len(labels)) if every else np.flatnonzero(labels == classes.index(name))
        images = make_training_set(cache.images[chosen], None, (name,), size, settings.channels)
        images = replace(images, untold=labels if every else None)
    else:
        chosen = np.arange(len(labels))
        images = make_training_set(cache.images, labels, classes, size, settings.channels)
    if settings.masks:
        masks = labelled_images.read_structures(cache, chosen, cache_folder, disjoint=True)
        joint = join_masks(images.pixels, masks)
        images = replace(images, pixels=joint, structures=cache.dataset.structures)
    return replace(
        images,
        name="phantom" if data == data_option.PHANTOM else cache.dataset.name,
        groups=splits.scan_groups(cache)[chosen] if groups else None,
        sources={cache.dataset.items[i].path: cache.hashes[i] for i in chosen},
        originals=cache.images[chosen[selection.evenly_spaced(len(chosen), SAMPLED)]],
    )


def hold_out(images: TrainingSet, share: float, seed: int) -> tuple[TrainingSet, TrainingSet | None]:
    """Set aside images that are never trained on, by whole scans, keeping each class's share.

    ``share`` is in (0, 0.5], rounded to one over a whole number; 0 holds none out.

    Returns:
        The training images, without groups because they must not be split again, and the held-out ones or None; both in
        their original order.
    """
    if not share:
        return images, None
    kept, held = set_aside(images, share, seed)
    return replace(kept, groups=None), held


def set_aside(images: TrainingSet, share: float, seed: int) -> tuple[TrainingSet, TrainingSet]:
    """Split images as `hold_out` does, keeping the groups of both parts, so that either can be split again.

    Raises:
        SonoforgeError: The share is out of range, or fewer than `HELD_OUT_LEAST` images would be held out.
    """
    if not 0 < share <= 0.5:
        raise SonoforgeError(f"held_out must be 0 to 0.5, not {share:g}")
    count, parts = len(images), round(1 / share)
    labels = images.strata
    groups = np.arange(count) if images.groups is None else images.groups
    fewest = min(len(np.unique(groups[labels == label])) for label in np.unique(labels))
    held = np.empty(0, np.int64)
    if fewest >= parts:
        folds = StratifiedGroupKFold(parts, shuffle=True, random_state=derive_seed(seed, "held-out", bits=32))
        _, held = next(folds.split(np.zeros(count), labels, groups))
    if len(held) < HELD_OUT_LEAST or len(np.unique(labels[held])) < len(np.unique(labels)):
        raise SonoforgeError(
            f"held_out: one in {parts} of {count} images makes {len(held)}, but {HELD_OUT_LEAST} are needed, some of "
            "each class; give a larger share, more images, or (gan train, compare) 0, to measure on training images"
        )
    chosen = np.isin(np.arange(count), held)
    return _subset(images, ~chosen), _subset(images, chosen)


def check_enough_images(count: int, classes: tuple[str, ...], batch: int) -> None:
    """Refuse a batch that would show an image twice.

    Raises:
        SonoforgeError: There are fewer images than in a batch.
    """
    if count >= batch:
        return
    of = f"class {classes[0]}" if len(classes) == 1 else f"classes {', '.join(classes)}"
    remedy = f"give batch {count}" if count > 1 else "add images"
    raise SonoforgeError(f"{count} training images of {of} are fewer than the {batch} of one batch; {remedy}")


def _subset(images: TrainingSet, chosen: NDArray[Any], pixels: Pixels | None = None) -> TrainingSet:
    """Return the chosen images, perhaps with other pixels."""
    known = {name: getattr(images, name) for name in ("labels", "groups", "untold")}
    own: dict[str, Any] = {name: None if values is None else values[chosen] for name, values in known.items()}
    return replace(images, pixels=images.pixels[chosen] if pixels is None else pixels, **own)


def join_masks(images: Pixels, masks: NDArray[np.uint8]) -> Pixels:
    """Append masks as the last channels, one for each structure: a GAN then makes image-mask pairs for segmentation.

    A mask is averaged over the area of each new pixel by the filter that resized its image, then each pixel goes to the
    structure, or the background, that covers most of it.  Nearest-pixel resampling would keep or break thin parts at
    random.

    Args:
        images: (N, S, S, C) uint8.
        masks: (N, K, H, W) uint8, in the geometry of the images before resizing.

    Returns:
        (N, S, S, C + K) uint8, the last channels 0 or 255.
    """
    side = images.shape[1]
    shares = [prepare_images(masks[:, k, ..., None], side, 1) for k in range(masks.shape[1])]
    return np.concatenate([images, cut_structures(np.concatenate(shares, axis=3))], axis=3)


# What a draw of 1 does.  These keep anatomy plausible and most of the picture in view, and are this project's choice;
# the method is from Berezsky and Liashchynskyi 2024.
ROTATION, SHEAR = 15.0, 8.0  # degrees
SCALE = 0.1  # relative; the factor is log-uniform from 1 / (1 + SCALE) to 1 + SCALE
SHIFT = 0.05  # share of the side, in both directions


def affine_matrices(draws: NDArray[np.float64]) -> Tensor:
    """Convert uniform draws to maps from points of the result to points of the image.

    The image is sheared, scaled, rotated about its centre, then shifted.

    Args:
        draws: (N, 5) in [-1, 1]: rotation, scale, shear, shift across, shift down.

    Returns:
        (N, 2, 3) float32, in coordinates where the image spans -1..1, x before y.
    """
    angle = np.radians(ROTATION) * draws[:, 0]
    factor = (1 + SCALE) ** draws[:, 1]
    slope = np.tan(np.radians(SHEAR) * draws[:, 2])
    turn = np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], axis=1).reshape(-1, 2, 2)
    sheared = np.tile(np.eye(2), (len(draws), 1, 1))
    sheared[:, 0, 1] = slope
    inverse = np.linalg.inv(factor[:, None, None] * turn @ sheared)
    moved = 2 * SHIFT * draws[:, 3:, None]  # the side is 2 long
    return torch.from_numpy(np.concatenate([inverse, -inverse @ moved], axis=2).astype(np.float32))


def warp(images: Tensor, matrices: Tensor, image_channels: int) -> Tensor:
    """Move images and their masks with bilinear interpolation and a reflected border.

    Args:
        images: (N, C, S, S) float in [-1, 1].
        matrices: (N, 2, 3) from `affine_matrices`.
        image_channels: Channels after these are masks: they stay -1 or 1.

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


CHUNK = 64  # images distorted at a time, to bound the memory of float copies


def expand(images: TrainingSet, copies: int, seed: int) -> TrainingSet:
    """Add distorted copies of each image once, before training, drawn only from (seed, image, copy).

    Returns:
        ``copies`` * N images: the N unchanged, then every further copy of all N in the same order.
    """
    return _with_copies(images, np.full(len(images), copies), seed)


def expand_classes(images: TrainingSet, count: int | None, seed: int) -> TrainingSet:
    """Add distorted copies as `expand` does until each class has ``count`` images, if it is given.

    Berezsky and Liashchynskyi 2024, section 4, expand about 100 images of each class to 700.

    Returns:
        The N images unchanged, then their copies, each in the scan group of its original; larger classes have none.
    """
    if count is None:
        return images
    labels = images.strata
    copies = np.ones(len(images), np.int64)
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        copies[own] += np.bincount(np.arange(max(0, count - len(own))) % len(own), minlength=len(own))
    groups = np.arange(len(images)) if images.groups is None else images.groups
    return _with_copies(replace(images, groups=groups), copies, seed)


def _with_copies(images: TrainingSet, copies: NDArray[np.int64], seed: int) -> TrainingSet:
    """Return ``copies[i]`` copies of each image: the originals, then all first copies, then all second ones."""
    made = [(copy, index) for copy in range(1, copies.max()) for index in np.flatnonzero(copies > copy)]
    origins = np.array([*range(len(images)), *(index for _, index in made)])
    parts = [images.pixels]
    for start in range(0, len(made), CHUNK):
        chunk = made[start : start + CHUNK]
        seeds = [derive_seed(seed, f"expansion copy {copy}", int(index)) for copy, index in chunk]
        draws = np.stack([np.random.default_rng(own).uniform(-1, 1, 5) for own in seeds])
        moved = to_unit(to_tensor(images.pixels[[index for _, index in chunk]]))
        parts.append(to_pixels(warp(moved, affine_matrices(draws), images.image_channels)))
    return _subset(images, origins, np.concatenate(parts))


class DeviceImages(NamedTuple):
    """The training images on the device that trains, and how batches of them are made."""

    pixels: Tensor  # (N, C, S, S) uint8; or maps of an autoencoder, float32
    labels: NDArray[np.int64] | None  # (N,) int64, or None for an unconditional training
    batch: int  # images per step
    seed: int
    # Whether the set is doubled by left-right flips, so that an epoch shows each image both ways (Karras et al.,
    # "Training Generative Adversarial Networks with Limited Data", NeurIPS 2020: x-flips).
    mirror: bool = False


def draw_real(images: DeviceImages, step: int) -> tuple[Tensor, Tensor | None]:
    """Return a step's real images (batch, C, S, S) float in [-1, 1], and their labels (batch,) int64.

    The images, each twice with ``mirror``, form an endless row of shuffled epochs, cut into batches: a batch may
    straddle two epochs or hold several.
    """
    pixels, labels, batch, seed, mirror = images
    ways, first = 1 + mirror, step * batch
    drawn = shuffled_epochs(len(pixels) * ways, first, first + batch, seed, "order")
    chosen, flipped = drawn % len(pixels), torch.from_numpy(drawn >= len(pixels)).to(pixels.device)
    real = pixels[torch.from_numpy(chosen).to(pixels.device)]
    real = to_unit(real) if real.dtype == torch.uint8 else real
    if mirror:
        real = torch.where(flipped[:, None, None, None], real.flip(3), real)
    return real, None if labels is None else torch.from_numpy(labels[chosen]).to(pixels.device)


def shuffled_epochs(count: int, begin: int, end: int, seed: int, purpose: str) -> NDArray[np.int64]:
    """Return items ``begin`` to ``end`` (exclusive, above ``begin``) of an endless row of shuffled 0..count-1."""
    first, last = begin // count, (end - 1) // count
    orders = [
        np.random.default_rng(derive_seed(seed, purpose, epoch)).permutation(count) for epoch in range(first, last + 1)
    ]
    return np.concatenate(orders)[begin - first * count : end - first * count].astype(np.int64)
