"""The generators of one training set: trained once, for every arm that asks for them, and drawn from."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.synthetic import split_masks
from sonoforge.runtime.seeds import derive_seed
from sonoforge.training.data.labelled_images import LabelledImages
from sonoforge.training.data.pixels import Pixels, prepare_images
from sonoforge.training.gan import checkpoint as gan_checkpoint
from sonoforge.training.gan.generator import load_generator, sample
from sonoforge.training.gan.options import GanSettings
from sonoforge.training.gan.settings import compose, make_plan
from sonoforge.training.gan.training import Pretrained, Training, open_pretrained, prepare
from sonoforge.training.gan.training_set import join_masks, make_training_set

if TYPE_CHECKING:
    from torch import nn

log = logging.getLogger(__name__)

ALL_CLASSES = "all classes"
"""Name of a class-conditional generator, which learns all images and is asked for each class."""


@dataclass(frozen=True)
class GeneratorJob:
    """How the generators of one training set are trained."""

    settings: GanSettings  # shared by the classes; where `metrics` are measured, the best checkpoint is used
    seed: int  # each class derives its own from it
    device: str  # `auto`, `cpu`, `cuda` or `cuda:N`
    folder: Path  # keeps one training in a sub-folder for each class


def generator_name(class_name: str, settings: GanSettings) -> str:
    """Name a class's generator, which is also its folder: that of the class, or `ALL_CLASSES` of a conditional one."""
    return class_name if compose(settings).conditioning == "none" else ALL_CLASSES


def train_generators(images: LabelledImages, labels: Sequence[int], job: GeneratorJob) -> dict[int, Path]:
    """Train one generator for each of the classes, on that class's images alone; a conditional one on all images.

    A training that was interrupted continues; one that is finished is not repeated, whoever asked for it.

    Returns:
        Checkpoint folder by label: the last one; where metrics are measured the best one, as
        `gan.checkpoint.best_checkpoint` has it, if there is one.
    """
    if not labels:
        return {}
    checkpoints: dict[int, Path] = {}
    # Lightning, behind it, takes two seconds to import, which a process that only deals out the folds can do without.
    from sonoforge.training.gan.engine import train_gan  # noqa: PLC0415

    pretrained = open_pretrained(job.settings, job.device)
    for label in labels:
        name = generator_name(images.classes[label], job.settings)
        if name == ALL_CLASSES and checkpoints:
            checkpoints[label] = next(iter(checkpoints.values()))
            continue
        training = _prepare(images, label, job, pretrained)
        last = train_gan(training, job.folder / name, resume=True)
        best = gan_checkpoint.best_checkpoint(last.parent) if training.settings.metrics else last
        if best is None:
            log.warning("generator of %s: no checkpoint is diverse enough to be the best; the last is used", name)
        checkpoints[label] = best or last
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
    # Enlarged ones would show a generator nothing of the detail that its size is for.
    pixels = own.larger(size) if own.larger is not None and size > own.pixels.shape[1] else own.pixels
    labels, classes = (own.labels, images.classes) if together else (None, (name,))
    training_set = make_training_set(pixels, labels, classes, size, settings.channels, groups=own.groups)
    if settings.masks:
        if own.masks is None:
            raise SonoforgeError(f"generator of {name}: found images without files, expected NAME_mask.png beside each")
        joined = join_masks(training_set.pixels, own.masks(pixels.shape[1])[:, None])
        training_set = dataclasses.replace(training_set, pixels=joined)
    return prepare(settings, training_set, job.device, pretrained)


def draw_trained(
    checkpoints: Mapping[int, Path], counts: Mapping[int, int], images: LabelledImages, seed: int
) -> LabelledImages:
    """Draw images of each class from its generator, resized as the classifier sees them.

    Image number i of a class depends on the seed and i alone, so a smaller dose is the beginning of a larger one.  What
    was trained with masks draws each image with its own.  Of the real images, only size and classes are read.
    """
    sources = {
        label: _Source(load_generator(checkpoints[label]), gan_checkpoint.describe(checkpoints[label]).image_channels)
        for label in counts
    }
    return _draw(sources, counts, images, seed)


def draw_untrained(counts: Mapping[int, int], images: LabelledImages, job: GeneratorJob) -> LabelledImages:
    """Draw images of each class from its generator as it is at step 0, before it has seen any of these: a placebo."""
    from sonoforge.training.gan.networks import build_networks  # noqa: PLC0415
    from sonoforge.training.gan.transfer import transfer_weights  # noqa: PLC0415

    pretrained = open_pretrained(job.settings, job.device)
    sources: dict[int, _Source] = {}
    for label in counts:
        training = _prepare(images, label, job, pretrained)
        networks = build_networks(training.recipe, training.options, training.settings.seed, training.seen)
        if training.pretrained.start_from is not None:
            transfer_weights(training.pretrained.start_from, networks[0], networks[1])
        sources[label] = _Source(networks[0].eval().requires_grad_(False), training.originals.image_channels)
    return _draw(sources, counts, images, job.seed)


def at_size_drawn(pixels: Pixels, settings: GanSettings) -> Pixels:
    """Reduce images (N, S, S, 3) to the size that generators draw at, and enlarge them again as what is drawn is."""
    size, side = make_plan(settings, len(pixels)).image_size, pixels.shape[1]
    return np.stack([_resized(image, side) for image in prepare_images(pixels, size, 3)])


class _Source(NamedTuple):
    """What images are drawn from."""

    generator: nn.Module
    image_channels: int  # channels that are image; one more is the mask


def _draw(
    sources: Mapping[int, _Source], counts: Mapping[int, int], images: LabelledImages, seed: int
) -> LabelledImages:
    side = images.pixels.shape[1]
    pixels = np.empty((sum(counts.values()), side, side, 3), np.uint8)
    labels = np.concatenate([np.full(count, label, np.int64) for label, count in counts.items()] or [images.labels[:0]])
    masks: list[Pixels] = []
    for label, count in counts.items():
        generator, image_channels = sources[label]
        asked = label if int(generator.classes) else None  # type: ignore[arg-type]
        drawn = sample(generator, count, derive_seed(seed, f"samples {label}"), asked)
        own, own_masks = split_masks(drawn, image_channels)
        pixels[labels == label] = [_resized(image, side) for image in own]
        masks += [] if own_masks is None else [own_masks]
    together = np.concatenate(masks) if masks else None
    return LabelledImages(
        pixels,
        labels,
        images.classes,
        masks=None if together is None else lambda side: prepare_images(together, side, 1)[..., 0],
    )


def _resized(image: Pixels, side: int) -> Pixels:
    grey = image[..., 0] if image.shape[-1] == 1 else image
    return np.asarray(Image.fromarray(grey).convert("RGB").resize((side, side), Image.Resampling.BILINEAR))
