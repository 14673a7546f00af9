"""The arms of the comparison: what each one trains on, and the training of one of them.

A new arm is one row of `ARMS`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from sonoforge.runtime.inference.trust import TrustReference
from sonoforge.runtime.seeds import derive_seed
from sonoforge.training.classifier.fine_tuning import (
    ClassifierSettings,
    all_features,
    answer,
    build_network,
    feature_inputs,
    fit,
    pixel_inputs,
    pixel_views,
)
from sonoforge.training.classifier.trust_reference import fit_reference
from sonoforge.training.classifier.weights import Backbone
from sonoforge.training.gan import checkpoint as gan_checkpoint
from sonoforge.training.gan.batches.training_set import make_training_set
from sonoforge.training.gan.engine import train_gan
from sonoforge.training.gan.generator import load_generator, sample
from sonoforge.training.gan.job import open_job
from sonoforge.training.gan.settings import GanSettings, make_plan

log = logging.getLogger(__name__)

Pixels = NDArray[np.uint8]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Arm:
    """One way to train the classifier.

    Attributes:
        title: What the tables call it.
        fill: What every class is filled up with to the size of the largest: ``""``, ``gan`` or ``duplicates``.
        class_weights: Weight the loss by inverse class frequency.
        augmentation: See `fine_tuning.VARIANTS`.
    """

    title: str
    fill: str = ""
    class_weights: bool = False
    augmentation: str = "flip"


ARMS: dict[str, Arm] = {
    "real": Arm("real images (System 1)"),
    "gan": Arm("real + generated images (System 2)", fill="gan"),
    "duplicates": Arm("placebo: real + duplicated images", fill="duplicates"),
    "weighted": Arm("real images, class-weighted loss", class_weights=True),
    "classical": Arm("real images, classical augmentation", augmentation="classical"),
}


class Extra(NamedTuple):
    """Images added to an arm's training images: pixels (M, S, S, 3), labels (M,), content hashes."""

    pixels: Pixels
    labels: Indices
    hashes: tuple[str, ...]


class Trained(NamedTuple):
    """A trained arm: its members, their mean learning curve, accuracy on its own training images, trust reference."""

    members: list[Any]
    history: list[dict[str, float]]
    train_accuracy: float
    reference: TrustReference


def missing_images(labels: Indices, classes: int) -> dict[int, int]:
    """Number of images each class lacks to be as large as the largest; classes that lack none are left out."""
    counts = np.bincount(labels, minlength=classes)
    return {label: int(counts.max() - count) for label, count in enumerate(counts) if count < counts.max()}


def settings_of_arm(arm: Arm, settings: ClassifierSettings) -> ClassifierSettings:
    """Return the classifier settings with what the arm changes of them."""
    return dataclasses.replace(settings, class_weights=arm.class_weights, augmentation=arm.augmentation)


def train_generators(
    pixels: Pixels,
    labels: Indices,
    class_names: tuple[str, ...],
    folder: Path,
    gan: GanSettings,
    seed: int,
    device: str,
    features: str = "",
    groups: Indices | None = None,
) -> dict[int, Path]:
    """Train one generator for each class that lacks images, on that class's images alone.

    A training that was interrupted continues; one that is finished is not repeated.

    Args:
        pixels: (N, S, S, 3) of the images the generators may see.
        labels: (N,) their classes.
        class_names: Names by label.
        folder: Each class gets a sub-folder.
        gan: Settings shared by the classes.
        seed: The run's seed; each class derives its own.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        features: Feature network of perceptual term and metrics, see `metrics.features.open_features`.
        groups: (N,) near-duplicate group of each image; what ``gan.held_out`` sets aside are whole groups.

    Returns:
        Checkpoint folder by label: the last one; where ``gan.metrics`` are measured the best one, as
        `gan.checkpoint.best_checkpoint` has it, if there is one.
    """
    checkpoints = {}
    job = open_job(dataclasses.replace(gan, features=features), device)
    for label in missing_images(labels, len(class_names)):
        name = class_names[label]
        settings = dataclasses.replace(
            job.settings, class_name=name, seed=derive_seed(seed, f"generator {name}") % 2**31
        )
        mine = labels == label
        own = pixels[mine]
        if settings.batch is not None and settings.batch > len(own):
            log.info("generator of %s: batch %d lowered to its %d images", name, settings.batch, len(own))
            settings = dataclasses.replace(settings, batch=len(own))
        size = make_plan(settings, len(own)).image_size
        images = make_training_set(
            own, None, (name,), size, settings.channels, groups=None if groups is None else groups[mine]
        )
        last = train_gan(images, dataclasses.replace(job, settings=settings), folder / name, resume=True)
        best = gan_checkpoint.best_checkpoint(last.parent) if settings.metrics else last
        if best is None:
            log.warning("generator of %s: no checkpoint is diverse enough to be the best; the last is used", name)
        checkpoints[label] = best or last
    return checkpoints


def generate_extra(checkpoints: Mapping[int, Path], missing: Mapping[int, int], side: int, seed: int) -> Extra:
    """Draw the missing images of each class from its generator, resized to ``side`` as the classifier sees them."""
    pixels: list[Pixels] = []
    labels: list[int] = []
    for label, count in missing.items():
        drawn = sample(load_generator(checkpoints[label]), count, derive_seed(seed, f"samples {label}") % 2**31)
        for image in drawn:
            grey = image[..., 0] if image.shape[-1] == 1 else image
            resized = Image.fromarray(grey).convert("RGB").resize((side, side), Image.Resampling.BILINEAR)
            pixels.append(np.asarray(resized))
            labels.append(label)
    return _extra(pixels, labels, side)


def duplicate_extra(pixels: Pixels, labels: Indices, missing: Mapping[int, int], seed: int) -> Extra:
    """Draw the missing images of each class, with replacement, from its own real ones: the placebo."""
    rng = np.random.default_rng(derive_seed(seed, "duplicates"))
    chosen = [rng.choice(np.flatnonzero(labels == label), count) for label, count in missing.items()]
    indices = np.concatenate([np.empty(0, dtype=np.int64), *chosen])
    return _extra(list(pixels[indices]), list(labels[indices]), pixels.shape[1])


def _extra(pixels: list[Pixels], labels: list[int], side: int) -> Extra:
    stacked = np.stack(pixels) if pixels else np.empty((0, side, side, 3), np.uint8)
    hashes = tuple(hashlib.sha256(image.tobytes()).hexdigest() for image in stacked)
    return Extra(stacked, np.array(labels, dtype=np.int64), hashes)


def fill_classes(
    arm: Arm,
    pixels: Pixels,
    labels: Indices,
    class_names: tuple[str, ...],
    folder: Path,
    gan: GanSettings,
    seed: int,
    device: str,
    features: str = "",
    groups: Indices | None = None,
) -> Extra | None:
    """Make the images with which the arm fills every class up to the size of the largest.

    Args:
        arm: Says what to fill with.
        pixels: (N, S, S, 3) real images that may be read for it.
        labels: (N,) their classes.
        class_names: Names by label.
        folder: Keeps the generators, if the arm needs any.
        gan: See `train_generators`.
        seed: Seed of generators and draws.
        device: See `train_generators`.
        features: See `train_generators`.
        groups: See `train_generators`.

    Returns:
        The images, or None if the arm adds nothing.
    """
    missing = missing_images(labels, len(class_names))
    if arm.fill == "gan":
        generators = train_generators(pixels, labels, class_names, folder, gan, seed, device, features, groups)
        return generate_extra(generators, missing, pixels.shape[1], seed)
    if arm.fill == "duplicates":
        return duplicate_extra(pixels, labels, missing, seed)
    return None


def train_arm(
    pixels: Pixels,
    labels: Indices,
    classes: int,
    features: Tensor | None,
    extra: Extra | None,
    backbone: Backbone,
    settings: ClassifierSettings,
    seed: int,
    device: torch.device,
    *,
    checkpoint: Path | None = None,
    on_epoch: Callable[[dict[str, float]], None] | None = None,
) -> Trained:
    """Train one classifier on real images and what the arm adds to them.

    Args:
        pixels: (N, S, S, 3) real training images.
        labels: (N,) their classes.
        classes: Number of classes.
        features: Cached maps (V, N, C, H, W) of the real images if blocks are frozen, else None.
        extra: Images to add, or None.
        backbone: Initial weights.
        settings: The arm's settings, see `settings_of_arm`.
        seed: Seed of initialisation, order, augmentation, dropout.
        device: Where to train.
        checkpoint: See `fine_tuning.fit`.
        on_epoch: See `fine_tuning.fit`.
    """
    all_labels = labels if extra is None else np.concatenate([labels, extra.labels])
    members = [
        build_network(classes, backbone, derive_seed(seed, "classifier head", member) % 2**31, device)
        for member in range(settings.members)
    ]
    if settings.frozen_blocks:
        if features is None:
            features = all_features(members[0], pixels, settings, seed, device)
        if extra is not None and len(extra.labels):
            added = all_features(members[0], extra.pixels, settings, seed, device)
            features = torch.cat([features, added], dim=1)
        inputs = feature_inputs(features)
        views: Sequence[Pixels | Tensor] = list(features[: 2 if settings.mirror else 1])
    else:
        every = pixels if extra is None else np.concatenate([pixels, extra.pixels])
        inputs = pixel_inputs(every, settings.augmentation, device)
        views = pixel_views(every, settings.mirror)
    histories = [
        fit(
            net,
            inputs,
            all_labels,
            settings,
            derive_seed(seed, "classifier", member) % 2**31,
            checkpoint=None if checkpoint is None else checkpoint.with_stem(f"{checkpoint.stem}-{member}"),
            on_epoch=on_epoch,
        )
        for member, net in enumerate(members)
    ]
    history = [
        {key: float(np.mean([row[key] for row in rows])) for key in rows[0]} for rows in zip(*histories, strict=True)
    ]
    answers = answer(members, views, settings.frozen_blocks, device)
    train_accuracy = float((answers.probabilities.argmax(axis=1) == all_labels).mean())
    return Trained(members, history, train_accuracy, fit_reference(answers.embeddings[: len(labels)]))
