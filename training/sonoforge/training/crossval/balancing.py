"""What an arm adds to the real images of a training set: generated images, or those of a placebo."""

import dataclasses
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from sonoforge.runtime.seeds import derive_seed
from sonoforge.training.classifier.augmentation import Pixels
from sonoforge.training.classifier.network import answer, pixel_views
from sonoforge.training.classifier.settings import ClassifierSettings
from sonoforge.training.classifier.training import ClassifierJob, train_classifier
from sonoforge.training.classifier.weights import Backbone
from sonoforge.training.crossval.arms import Arm, added_counts, classes_with_generators
from sonoforge.training.crossval.curation import POOL, Scorer, curate
from sonoforge.training.crossval.generators import (
    GeneratorJob,
    at_size_drawn,
    draw_trained,
    draw_untrained,
    train_generators,
)
from sonoforge.training.data.labelled_images import LabelledImages

log = logging.getLogger(__name__)


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
    """Train one network on real images alone, and return its scores of others, see `curation.Scorer`."""
    settings = dataclasses.replace(job.settings, ensemble_size=1, teachers=0)
    own = dataclasses.replace(job, settings=settings, added_weight=1.0, real=True, watched=None)
    members = train_classifier(images, None, own).members

    def score(pixels: Pixels) -> NDArray[np.float64]:
        # From pixels, so that the frozen blocks are run, too.
        views = pixel_views(pixels, settings.mirror)
        return answer(members, views, settings.frozen_blocks, job.device, look=settings.look).probabilities

    return score
