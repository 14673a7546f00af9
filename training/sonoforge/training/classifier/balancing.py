"""Fill up the small classes of a training set: with images of trained generators, or with duplicates as the placebo."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sonoforge.runtime.seeds import derive_seed
from sonoforge.training.data.labelled_images import LabelledImages
from sonoforge.training.data.pixels import Pixels
from sonoforge.training.gan import checkpoint as gan_checkpoint
from sonoforge.training.gan.batches.training_set import make_training_set
from sonoforge.training.gan.generator import load_generator, sample
from sonoforge.training.gan.job import open_job
from sonoforge.training.gan.options import GanSettings
from sonoforge.training.gan.settings import make_plan

log = logging.getLogger(__name__)

GENERATOR_BUDGETS: dict[str, dict[str, Any]] = {
    # Small on purpose: what a CPU can train ten times over in minutes.  Every table says so.
    "quick": {"image_size": 64, "steps": 120, "batch": 32},
    "paper": {},
    # As published: the recipe's own size, epochs and batches, and in RGB, as the thesis draws its networks; the recipe
    # alone leaves grey images grey.
    "thesis": {"recipe": "dcgan-thesis", "channels": "3"},
}


@dataclass(frozen=True)
class GeneratorJob:
    """How the generators of one training set are trained."""

    settings: GanSettings  # shared by the classes; where `metrics` are measured, the best checkpoint is used
    seed: int  # each class derives its own from it
    device: str  # `auto`, `cpu`, `cuda` or `cuda:N`
    folder: Path  # keeps one training in a sub-folder for each class


def missing_images(images: LabelledImages) -> dict[int, int]:
    """Number of images each class lacks to be as large as the largest; classes that lack none are left out."""
    counts = images.counts
    return {label: int(counts.max() - count) for label, count in enumerate(counts) if count < counts.max()}


def balance(fill: str, images: LabelledImages, job: GeneratorJob) -> LabelledImages | None:
    """Make the images that bring every class up to the size of the largest, as ``fill`` of the arm says.

    Returns:
        The images to add, or None.
    """
    if fill == "gan":
        return generate_images(train_generators(images, job), images, job.seed)
    if fill == "duplicates":
        return duplicate_images(images, job.seed)
    return None


def train_generators(images: LabelledImages, job: GeneratorJob) -> dict[int, Path]:
    """Train one generator for each class that lacks images, on that class's images alone.

    A training that was interrupted continues; one that is finished is not repeated.

    Returns:
        Checkpoint folder by label: the last one; where metrics are measured the best one, as
        `gan.checkpoint.best_checkpoint` has it, if there is one.
    """
    checkpoints = {}
    # Lightning, behind it, takes two seconds to import, which a process that only deals out the folds can do without.
    from sonoforge.training.gan.engine import train_gan  # noqa: PLC0415

    shared = open_job(job.settings, job.device)
    for label in missing_images(images):
        name, own = images.classes[label], images.of(label)
        seed = derive_seed(job.seed, f"generator {name}")
        settings = dataclasses.replace(shared.settings, class_name=name, seed=seed)
        if settings.batch is not None and settings.batch > len(own):
            log.info("generator of %s: batch %d lowered to its %d images", name, settings.batch, len(own))
            settings = dataclasses.replace(settings, batch=len(own))
        size = make_plan(settings, len(own)).image_size
        # Enlarged ones would show a generator nothing of the detail that its size is for.
        pixels = own.larger(size) if own.larger is not None and size > own.pixels.shape[1] else own.pixels
        training_set = make_training_set(pixels, None, (name,), size, settings.channels, groups=own.groups)
        training = dataclasses.replace(shared, settings=settings)
        last = train_gan(training_set, training, job.folder / name, resume=True)
        best = gan_checkpoint.best_checkpoint(last.parent) if settings.metrics else last
        if best is None:
            log.warning("generator of %s: no checkpoint is diverse enough to be the best; the last is used", name)
        checkpoints[label] = best or last
    return checkpoints


def generate_images(checkpoints: Mapping[int, Path], images: LabelledImages, seed: int) -> LabelledImages:
    """Draw the missing images of each class from its generator, resized as the classifier sees them."""
    side = images.pixels.shape[1]
    missing = missing_images(images)
    pixels = np.empty((sum(missing.values()), side, side, 3), np.uint8)
    labels = np.concatenate(
        [np.full(count, label, np.int64) for label, count in missing.items()] or [images.labels[:0]]
    )
    for label, count in missing.items():
        drawn = sample(load_generator(checkpoints[label]), count, derive_seed(seed, f"samples {label}"))
        pixels[labels == label] = [_resized(image, side) for image in drawn]
    return LabelledImages(pixels, labels, images.classes)


def _resized(image: Pixels, side: int) -> Pixels:
    grey = image[..., 0] if image.shape[-1] == 1 else image
    return np.asarray(Image.fromarray(grey).convert("RGB").resize((side, side), Image.Resampling.BILINEAR))


def duplicate_images(images: LabelledImages, seed: int) -> LabelledImages:
    """Draw the missing images of each class, with replacement, from its own real ones: the placebo."""
    rng = np.random.default_rng(derive_seed(seed, "duplicates"))
    chosen = [
        rng.choice(np.flatnonzero(images.labels == label), count) for label, count in missing_images(images).items()
    ]
    return images.subset(np.concatenate([np.empty(0, dtype=np.int64), *chosen]))
