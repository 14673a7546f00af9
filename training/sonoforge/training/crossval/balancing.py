"""The images that an arm adds to the real ones of a training set: drawn from generators, curated, or a placebo's.

Each generator is trained once, for all arms that draw from it.  Curated images pass three tests: they are no copies,
their quality is within the range of the real ones, and a classifier recognises their class.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images import quality_metrics
from sonoforge.runtime.images.synthetic import split_masks
from sonoforge.runtime.seeds import derive_seed
from sonoforge.training.classifier.initial_weights import Backbone
from sonoforge.training.classifier.network import answer, pixel_views
from sonoforge.training.classifier.settings import ClassifierSettings
from sonoforge.training.classifier.training import ClassifierJob, train_classifier
from sonoforge.training.copies.generated import (
    OTHER_GROUPS,
    copy_test,
    grey_pictures,
    least_groups,
    match_training,
    prepare_sought,
    prepare_training,
)
from sonoforge.training.crossval.arms import Arm, added_counts, classes_with_generators
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
POOL = 3
"""Curated images are chosen among so many times as many; where fewer pass, fewer are added."""
USUAL = (1.0, 99.0)
"""Percentiles of the real training images between which a quality measure must lie."""

Scorer = Callable[[Pixels], NDArray[np.float64]]
"""From images (N, S, S, 3) to the probabilities (N, C) of a classifier trained on real images alone."""


@dataclass(frozen=True)
class GeneratorJob:
    """How the generators of one training set are trained."""

    settings: GanSettings  # shared by the classes; where `metrics` are measured, the best checkpoint is used
    seed: int  # each class derives its own from it
    device: str  # `auto`, `cpu`, `cuda` or `cuda:N`
    folder: Path  # has one training in a sub-folder for each class


def generator_name(class_name: str, settings: GanSettings) -> str:
    """Return the name of a class's generator, which is also its folder; `ALL_CLASSES` for a conditional one."""
    return class_name if compose(settings).conditioning == "none" else ALL_CLASSES


def train_generators(images: LabelledImages, labels: Sequence[int], job: GeneratorJob) -> dict[int, Path]:
    """Train a generator for each of the classes on its images alone, or one conditional generator on all images.

    Interrupted trainings continue; finished ones are not repeated.

    Returns:
        Checkpoint folder by label: the last one; where metrics are measured, `gan.checkpoint.best_checkpoint`, if any.
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


class _Source(NamedTuple):
    """A generator, and how many of its channels are image; one more is the mask."""

    generator: nn.Module
    image_channels: int


def draw_trained(
    checkpoints: Mapping[int, Path], counts: Mapping[int, int], images: LabelledImages, seed: int
) -> LabelledImages:
    """Draw images of each class from its generator, resized as the classifier sees them.

    Image i of a class depends on the seed and i alone, so a smaller dose is the beginning of a larger one.  Generators
    trained with masks draw each image with its own.  Only size and classes of the real images are read.
    """
    sources = {
        label: _Source(load_generator(checkpoints[label]), gan_checkpoint.describe(checkpoints[label]).image_channels)
        for label in counts
    }
    return _draw(sources, counts, images, seed)


def draw_untrained(counts: Mapping[int, int], images: LabelledImages, job: GeneratorJob) -> LabelledImages:
    """Draw images of each class from its generator at step 0: a placebo."""
    from sonoforge.training.gan.networks import build_networks  # noqa: PLC0415
    from sonoforge.training.gan.start_from import transfer_weights  # noqa: PLC0415

    pretrained = open_pretrained(job.settings, job.device)
    sources: dict[int, _Source] = {}
    for label in counts:
        training = _prepare(images, label, job, pretrained)
        networks = build_networks(training.recipe, training.options, training.settings.seed, training.seen)
        if training.pretrained.start_from is not None:
            transfer_weights(training.pretrained.start_from, networks[0], networks[1])
        sources[label] = _Source(networks[0].eval().requires_grad_(False), training.originals.image_channels)
    return _draw(sources, counts, images, job.seed)


def _draw(
    sources: Mapping[int, _Source], counts: Mapping[int, int], images: LabelledImages, seed: int
) -> LabelledImages:
    side, labels = images.pixels.shape[1], _labels(counts, images)
    pixels = np.empty((len(labels), side, side, 3), np.uint8)
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


def _labels(counts: Mapping[int, int], images: LabelledImages) -> NDArray[np.int64]:
    return np.concatenate([np.full(count, label, np.int64) for label, count in counts.items()] or [images.labels[:0]])


def at_size_drawn(pixels: Pixels, settings: GanSettings) -> Pixels:
    """Reduce images (N, S, S, 3) to the generators' size, and enlarge them again as drawn images are."""
    size, side = make_plan(settings, len(pixels)).image_size, pixels.shape[1]
    return np.stack([_resized(image, side) for image in prepare_images(pixels, size, 3)])


def _resized(image: Pixels, side: int) -> Pixels:
    grey = image[..., 0] if image.shape[-1] == 1 else image
    return np.asarray(Image.fromarray(grey).convert("RGB").resize((side, side), Image.Resampling.BILINEAR))


class Curation(NamedTuple):
    """How many images were drawn, rejected by each test in turn, and kept."""

    drawn: int
    not_recognised: int  # called another class by the classifier of the real training images
    unusual: int  # a quality measure out of the range of the real training images
    copies: int  # copies of a training image; only as many are tested as are wanted
    kept: int


def curate(
    drawn: LabelledImages, wanted: Mapping[int, int], images: LabelledImages, as_drawn: Pixels, score: Scorer
) -> tuple[LabelledImages, Curation]:
    """Keep, of each class, the first images wanted that pass all tests; the cheapest test comes first.

    Copies are sought among the first images wanted, then among as many further ones as were copies.

    ``images`` are the real ones that the generators read, with their groups; ``as_drawn`` are the same after
    `at_size_drawn`, since sharp scans have another quality than anything drawn smaller.

    Raises:
        SonoforgeError: Too few groups for the copy test, see `copies.generated.copy_test`.
    """
    recognised = score(drawn.pixels).argmax(axis=1) == drawn.labels
    usual = recognised.copy()
    usual[recognised] = _of_usual_quality(drawn.pixels[recognised], as_drawn)
    left, original = usual.copy(), np.zeros(len(drawn), np.bool_)
    find_copies = _copy_finder(images) if usual.any() else None
    while find_copies is not None:
        of_class = [(drawn.labels == label, number) for label, number in wanted.items()]
        tested = np.concatenate([np.flatnonzero(left & own)[: n - (original & own).sum()] for own, n in of_class])
        if not len(tested):
            break
        left[tested] = False
        original[tested] = ~find_copies(drawn.pixels[tested])
    kept = np.concatenate([np.flatnonzero(original & (drawn.labels == label)) for label in wanted]).astype(np.int64)
    return drawn.subset(kept), Curation(
        drawn=len(drawn),
        not_recognised=int((~recognised).sum()),
        unusual=int((recognised & ~usual).sum()),
        copies=int((usual & ~left & ~original).sum()),
        kept=len(kept),
    )


def check_enough_groups(where: str, groups: NDArray[np.int64]) -> None:
    """Refuse real images with fewer groups (N,) than the copy test needs, before anything is trained."""
    found, least = len(np.unique(groups)), least_groups()
    if found < least:
        raise SonoforgeError(
            f"curated: the copy test needs {least} groups of real images, but {where} has {found}; add images, or "
            "leave the arm out"
        )


def _of_usual_quality(pixels: Pixels, real: Pixels) -> NDArray[np.bool_]:
    """Whether every quality measure lies in the usual range; the resolution, which all share, is left out."""

    def measured(images: Pixels) -> NDArray[np.float64]:
        side = images.shape[1]
        rows = [quality_metrics.measure(image, side, side) for image in images]
        return np.array([[row[name] for name in row if name != "resolution"] for row in rows])

    if not len(pixels):
        return np.zeros(0, np.bool_)
    low, high = np.percentile(measured(real), USUAL, axis=0)
    values = measured(pixels)
    usual: NDArray[np.bool_] = ((values >= low) & (values <= high)).all(axis=1)
    return usual


def _copy_finder(images: LabelledImages) -> Callable[[Pixels], NDArray[np.bool_]]:
    """Return a test of which images match a training image better than images of other groups match each other."""
    groups = images.groups
    if groups is None:
        raise SonoforgeError("curated: the copy test needs the groups of a training fold")
    wanted = prepare_training(images.pixels)
    real = match_training(wanted.square, wanted, (groups, groups))

    def find(pixels: Pixels) -> NDArray[np.bool_]:
        best = match_training(prepare_sought(grey_pictures(pixels)), wanted)
        copies: NDArray[np.bool_] = best.score > copy_test(best.score, real.score, groups, OTHER_GROUPS)["threshold"]
        return copies

    return find


def balance(
    arm: Arm, images: LabelledImages, job: GeneratorJob, make_scorer: Callable[[], Scorer]
) -> LabelledImages | None:
    """Make the images that the arm adds, if any; missing generators are trained, a scorer only for ``curated``."""
    counts = added_counts(arm, images.counts.tolist())
    if arm.fill == "duplicates":
        return duplicate_images(counts, images, job.seed)
    if arm.fill == "untrained":
        return draw_untrained(counts, images, job)
    if not arm.fill:
        return None
    checkpoints = train_generators(images, classes_with_generators(arm, images.counts.tolist()), job)
    pool = counts
    if arm.fill == "shuffled":
        pool = {label: -(-sum(counts.values()) // len(checkpoints)) for label in checkpoints}
    elif arm.fill == "curated":
        pool = {label: POOL * count for label, count in counts.items()}
    drawn = draw_trained(checkpoints, pool, images, job.seed)
    if arm.fill == "shuffled":
        return shuffle_labels(drawn, counts, job.seed)
    if arm.fill != "curated" or not len(drawn):
        return drawn
    kept, found = curate(drawn, counts, images, at_size_drawn(images.pixels, job.settings), make_scorer())
    said = ", ".join(f"{name.replace('_', ' ')} {number}" for name, number in found._asdict().items())
    log.info("curated images: %s", said)
    if not found.kept:
        log.warning("curated images: none passed, so nothing is added: the arm is trained as `real` is")
    return kept


def duplicate_images(counts: Mapping[int, int], images: LabelledImages, seed: int) -> LabelledImages:
    """Draw so many images of each class, with replacement, from its own real ones: a placebo."""
    rng = np.random.default_rng(derive_seed(seed, "duplicates"))
    chosen = [rng.choice(np.flatnonzero(images.labels == label), count) for label, count in counts.items()]
    return images.subset(np.concatenate([np.empty(0, dtype=np.int64), *chosen]))


def shuffle_labels(images: LabelledImages, counts: Mapping[int, int], seed: int) -> LabelledImages:
    """Give images drawn equally of all classes random labels, so many of each: a placebo."""
    order = np.random.default_rng(derive_seed(seed, "shuffled labels")).permutation(len(images))
    labels = _labels(counts, images)
    return LabelledImages(images.pixels[order[: len(labels)]], labels, images.classes)


def job_of_arm(
    arm: Arm, backbone: Backbone, settings: ClassifierSettings, seed: int, device: torch.device
) -> ClassifierJob:
    """Return how the classifier of an arm is trained, with ``settings`` of `arms.settings_of_arm`."""
    return ClassifierJob(backbone, settings, seed, device, added_weight=arm.added_weight, real=arm.real)


def train_scorer(images: LabelledImages, job: ClassifierJob) -> Scorer:
    """Train one network on real images alone, and return its scores of others, see `Scorer`."""
    settings = dataclasses.replace(job.settings, ensemble_size=1, teachers=0)
    own = dataclasses.replace(job, settings=settings, added_weight=1.0, real=True, watched=None)
    members = train_classifier(images, None, own).members

    def score(pixels: Pixels) -> NDArray[np.float64]:
        # From pixels, so that the frozen blocks are run, too.
        views = pixel_views(pixels, settings.mirror)
        return answer(members, views, settings.frozen_blocks, job.device, look=settings.look).probabilities

    return score
