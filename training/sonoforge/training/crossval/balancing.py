"""What an arm adds to the real images of a training set: generated images, or those of a placebo.

Curated ones are those that are worth training on: no copies, of usual quality, and recognised as their class.
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


POOL = 3
"""Images drawn for each that is wanted; where fewer pass, fewer are added."""
USUAL = (1.0, 99.0)
"""Percentiles of the real training images between which a measure of image quality is usual."""

Scorer = Callable[[Pixels], NDArray[np.float64]]
"""From images (N, S, S, 3) to the probabilities (N, C) of a classifier that learned from real training images alone."""


class Curation(NamedTuple):
    """How many images were drawn, rejected by each test in turn, and kept."""

    drawn: int
    not_recognised: int  # called another class by the classifier of the real training images
    unusual: int  # a measure of image quality out of the range of the real training images
    copies: int  # found to be a copy of a training image; only as many are looked for as are wanted
    kept: int


def curate(
    drawn: LabelledImages, wanted: Mapping[int, int], images: LabelledImages, as_drawn: Pixels, score: Scorer
) -> tuple[LabelledImages, Curation]:
    """Keep, of each class, the first images wanted that pass all tests; the cheapest test comes first.

    Copies are looked for among the first images wanted, then among as many further ones as were copies.

    ``images`` are the real ones that the generators read, with their groups; ``as_drawn`` are the same at the
    resolution of the drawn ones, see `at_size_drawn`: what is usual of sharp scans is not of any image that
    was drawn smaller.

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
    """Refuse real images of too few groups (N,) for the copy test, before anything is trained.

    Raises:
        SonoforgeError: Fewer groups than `least_groups`.
    """
    found, least = len(np.unique(groups)), least_groups()
    if found < least:
        raise SonoforgeError(
            f"curated: found {found} groups of real images in {where}, expected at least {least}, which its copy test "
            "needs; add images, or leave the arm out"
        )


def _of_usual_quality(pixels: Pixels, real: Pixels) -> NDArray[np.bool_]:
    """Whether every measure lies in the usual range; all have one resolution, which is left out."""
    if not len(pixels):
        return np.zeros(0, np.bool_)
    low, high = np.percentile(_measured(real), USUAL, axis=0)
    values = _measured(pixels)
    usual: NDArray[np.bool_] = ((values >= low) & (values <= high)).all(axis=1)
    return usual


def _measured(pixels: Pixels) -> NDArray[np.float64]:
    side = pixels.shape[1]
    rows = [quality_metrics.measure(image, side, side) for image in pixels]
    return np.array([[row[name] for name in row if name != "resolution"] for row in rows])


def _copy_finder(images: LabelledImages) -> Callable[[Pixels], NDArray[np.bool_]]:
    """Return what says which images match a training image better than those of other groups match each other."""
    groups = images.groups
    if groups is None:
        raise SonoforgeError("curated: found images without groups, expected those of a training fold")
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
    """Make the images that the arm adds to the real ones, if any; generators that are not trained yet are trained.

    What scores ``curated`` images is not made for another arm.
    """
    counts = added_counts(arm, images.counts.tolist())
    if arm.fill == "duplicates":
        return duplicate_images(counts, images, job.seed)
    if arm.fill == "untrained":
        return draw_untrained(counts, images, job)
    if not arm.fill:
        return None
    checkpoints = train_generators(images, classes_with_generators(arm, images.counts.tolist()), job)
    if arm.fill == "curated":
        return _curated(checkpoints, counts, images, job, make_scorer)
    if arm.fill == "shuffled":
        sources = {label: -(-sum(counts.values()) // len(checkpoints)) for label in checkpoints}
        return shuffle_labels(draw_trained(checkpoints, sources, images, job.seed), counts, job.seed)
    return draw_trained(checkpoints, counts, images, job.seed)


def _curated(
    checkpoints: Mapping[int, Path],
    counts: Mapping[int, int],
    images: LabelledImages,
    job: GeneratorJob,
    make_scorer: Callable[[], Scorer],
) -> LabelledImages:
    pool = draw_trained(checkpoints, {label: POOL * count for label, count in counts.items()}, images, job.seed)
    if not len(pool):
        return pool
    kept, found = curate(pool, counts, images, at_size_drawn(images.pixels, job.settings), make_scorer())
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
    """Give so many images of each label, drawn of all classes equally, labels that say nothing of them: a placebo."""
    order = np.random.default_rng(derive_seed(seed, "shuffled labels")).permutation(len(images))
    labels = np.concatenate([np.full(count, label, np.int64) for label, count in counts.items()] or [images.labels[:0]])
    return LabelledImages(images.pixels[order[: len(labels)]], labels, images.classes)


def job_of_arm(
    arm: Arm, backbone: Backbone, settings: ClassifierSettings, seed: int, device: torch.device
) -> ClassifierJob:
    """Return how the classifier of an arm is trained; its ``settings`` are those of `arms.settings_of_arm`."""
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
