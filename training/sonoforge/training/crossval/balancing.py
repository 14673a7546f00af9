"""Make the images that an arm adds to a training set's real ones: drawn from generators, or placebos.

Each generator is trained once, for all arms that draw from it.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.synthetic import split_masks
from sonoforge.runtime.seeds import derive_seed
from sonoforge.training.crossval.arms import Arm, added_counts, classes_with_generators
from sonoforge.training.data.labelled_images import LabelledImages
from sonoforge.training.data.pixels import Pixels, prepare_images
from sonoforge.training.gan import checkpoint as gan_checkpoint
from sonoforge.training.gan.generator import load_generator, sample
from sonoforge.training.gan.minutes import quietly
from sonoforge.training.gan.networks import build_networks
from sonoforge.training.gan.options import GanSettings
from sonoforge.training.gan.settings import compose, make_plan
from sonoforge.training.gan.training import Pretrained, Training, open_pretrained, prepare
from sonoforge.training.gan.training_set import join_masks, make_training_set

if TYPE_CHECKING:
    from torch import nn

log = logging.getLogger(__name__)

ALL_CLASSES = "all classes"
"""Name of a class-conditional generator, which learns from all images and draws each class."""


@dataclass(frozen=True)
class GeneratorJob:
    """How to train the generators of one training set."""

    settings: GanSettings  # shared by the classes
    seed: int  # each class derives its own from it
    device: str  # `auto`, `cpu`, `cuda` or `cuda:N`
    folder: Path  # has one training run in a sub-folder for each class


def generator_name(class_name: str, settings: GanSettings) -> str:
    """Return the name of a class's generator, which is also its folder; `ALL_CLASSES` for a conditional one."""
    return class_name if compose(settings).conditioning == "none" else ALL_CLASSES


def train_generators(images: LabelledImages, labels: Sequence[int], job: GeneratorJob) -> dict[int, Path]:
    """Train a generator for each class on just its images, or one conditional generator on all images.

    Interrupted training runs continue; finished ones are not repeated. Return the last checkpoint's folder by label.
    """
    if not labels:
        return {}
    checkpoints: dict[int, Path] = {}
    from sonoforge.training.gan.engine import train_gan  # noqa: PLC0415

    pretrained = open_pretrained(job.settings, job.device)
    for label in labels:
        name = generator_name(images.classes[label], job.settings)
        if name == ALL_CLASSES and checkpoints:
            checkpoints[label] = next(iter(checkpoints.values()))
            continue
        training = _prepare(images, label, job, pretrained)
        checkpoints[label] = train_gan(training, job.folder / name, resume=True)
    return checkpoints


def _prepare(images: LabelledImages, label: int, job: GeneratorJob, pretrained: Pretrained) -> Training:
    """Return the training of one class's generator, or of a conditional one."""
    name = generator_name(images.classes[label], job.settings)
    together = name == ALL_CLASSES
    own = images if together else images.of(label)
    settings = dataclasses.replace(
        job.settings, class_name="" if together else name, seed=derive_seed(job.seed, f"generator {name}")
    )
    count = len(own) * settings.expand
    if settings.batch is not None and settings.batch > count:
        log.info("generator of %s: batch %d lowered to its %d images", name, settings.batch, count)
        settings = dataclasses.replace(settings, batch=count)
    size = make_plan(settings, count).image_size
    # Enlarged images would lack the detail that a larger generator is for.
    pixels = own.larger(size) if own.larger is not None and size > own.pixels.shape[1] else own.pixels
    labels, classes = (own.labels, images.classes) if together else (None, (name,))
    training_set = make_training_set(pixels, labels, classes, size, settings.channels, groups=own.groups)
    if settings.masks:
        if own.masks is None:
            raise SonoforgeError(f"generator of {name}: gan.masks needs NAME_mask.png beside each image file")
        joined = join_masks(training_set.pixels, own.masks(pixels.shape[1])[:, None])
        training_set = dataclasses.replace(training_set, pixels=joined)
    return prepare(settings, training_set, job.device, pretrained)


def generator_bytes(images: LabelledImages, label: int, job: GeneratorJob) -> int:
    """Refuse a generator that cannot be trained; return about how many bytes its checkpoints take."""
    with quietly("sonoforge.training"):  # the training itself says it
        return _prepare(images, label, job, open_pretrained(job.settings, job.device)).checkpoint_bytes


def draw_trained(
    checkpoints: Mapping[int, Path], counts: Mapping[int, int], images: LabelledImages, seed: int
) -> LabelledImages:
    """Draw images of each class from its generator, resized as the classifier sees them.

    Image i of a class depends only on the seed and i, so a smaller dose is the beginning of a larger one. Generators
    trained with masks draw each image with its own. Only the size and classes of the real images matter.
    """
    sources = {
        label: (load_generator(checkpoints[label]), gan_checkpoint.describe(checkpoints[label]).image_channels)
        for label in counts
    }
    return _draw(sources, counts, images, seed)


def draw_untrained(counts: Mapping[int, int], images: LabelledImages, job: GeneratorJob) -> LabelledImages:
    """Draw images of each class from its generator at step 0: a placebo."""
    from sonoforge.training.gan.start_from import transfer_weights  # noqa: PLC0415

    pretrained = open_pretrained(job.settings, job.device)
    sources: dict[int, tuple[nn.Module, int]] = {}
    for label in counts:
        training = _prepare(images, label, job, pretrained)
        networks = build_networks(training.recipe, training.options, training.settings.seed, training.seen)
        if training.pretrained.start_from is not None:
            transfer_weights(training.pretrained.start_from, networks[0], networks[1])
        sources[label] = networks[0].eval().requires_grad_(False), training.originals.image_channels
    return _draw(sources, counts, images, job.seed)


def _draw(
    sources: Mapping[int, tuple[nn.Module, int]], counts: Mapping[int, int], images: LabelledImages, seed: int
) -> LabelledImages:
    """Draw from each class's generator; this many channels are the image, and one more is the mask."""
    side, labels = images.pixels.shape[1], _labels(counts, images)
    pixels = np.empty((len(labels), side, side, 3), np.uint8)
    masks: list[Pixels] = []
    for label, count in counts.items():
        generator, image_channels = sources[label]
        asked = label if int(generator.classes) else None  # type: ignore[arg-type]
        drawn = sample(generator, count, derive_seed(seed, f"samples {label}"), asked)
        own, own_masks = split_masks(drawn, image_channels)
        pixels[labels == label] = prepare_images(own, side, 3)
        masks += [] if own_masks is None else [own_masks]
    together = np.concatenate(masks) if masks else None
    return LabelledImages(
        pixels,
        labels,
        images.classes,
        masks=None if together is None else lambda side: prepare_images(together, side, 1)[..., 0],
    )


def _labels(counts: Mapping[int, int], images: LabelledImages) -> NDArray[np.int64]:
    return np.concatenate([np.full(count, label, np.int64) for label, count in counts.items()] or [images.labels[:0]])


def balance(arm: Arm, images: LabelledImages, job: GeneratorJob) -> LabelledImages | None:
    """Make the images that the arm adds, if any, training missing generators."""
    counts = added_counts(arm, images.counts.tolist())
    if not arm.fill:
        return None
    if arm.fill == "duplicates":
        return duplicate_images(counts, images, job.seed)
    if arm.fill == "untrained":
        return draw_untrained(counts, images, job)
    checkpoints = train_generators(images, classes_with_generators(arm, images.counts.tolist()), job)
    if arm.fill == "gan":
        return draw_trained(checkpoints, counts, images, job.seed)
    equal = {label: -(-sum(counts.values()) // len(checkpoints)) for label in checkpoints}
    return shuffle_labels(draw_trained(checkpoints, equal, images, job.seed), counts, job.seed)


def duplicate_images(counts: Mapping[int, int], images: LabelledImages, seed: int) -> LabelledImages:
    """Draw this many images of each class, with replacement, from its own real ones: a placebo."""
    rng = np.random.default_rng(derive_seed(seed, "duplicates"))
    chosen = [rng.choice(np.flatnonzero(images.labels == label), count) for label, count in counts.items()]
    return images.subset(np.concatenate([np.empty(0, dtype=np.int64), *chosen]))


def shuffle_labels(images: LabelledImages, counts: Mapping[int, int], seed: int) -> LabelledImages:
    """Give random labels, this many of each, to images drawn equally from all classes: a placebo."""
    order = np.random.default_rng(derive_seed(seed, "shuffled labels")).permutation(len(images))
    labels = _labels(counts, images)
    return LabelledImages(images.pixels[order[: len(labels)]], labels, images.classes)
