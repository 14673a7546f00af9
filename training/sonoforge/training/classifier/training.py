"""Train one classifier: all networks of its ensemble, on real and added images."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sonoforge.runtime.seeds import derive_seed
from sonoforge.training.classifier import fine_tuning, network
from sonoforge.training.classifier.augmentation import Pixels
from sonoforge.training.classifier.initial_weights import Backbone
from sonoforge.training.classifier.scan_views import balanced_frequencies, collections_of, scan_inputs, together
from sonoforge.training.classifier.settings import ClassifierSettings
from sonoforge.training.classifier.trust import TrustFit, fit_trust
from sonoforge.training.data.labelled_images import LabelledImages


@dataclass(frozen=True)
class ClassifierJob:
    """How one classifier is trained, apart from its images."""

    backbone: Backbone
    settings: ClassifierSettings
    seed: int  # of initialisation, order, augmentation and dropout
    device: torch.device
    real: bool = True  # train on the real images, or on the added ones alone
    watched: network.Watched | None = None  # images to measure each epoch on


class Trained(NamedTuple):
    """A trained classifier."""

    members: list[Any]
    history: list[fine_tuning.EpochRow]  # mean of the members
    train_accuracy: float
    trust: TrustFit  # fitted to the real images
    added: NDArray[np.int64]  # (C,) number of added images of each class


def train_classifier(
    images: LabelledImages,
    added: LabelledImages | None,
    job: ClassifierJob,
    *,
    features: Tensor | None = None,
    checkpoint: Path | None = None,
    on_epoch: Callable[[fine_tuning.EpochRow], None] | None = None,
) -> Trained:
    """Train one classifier on real and added images, or only on added ones.

    ``features`` are cached maps (V, N, C, H, W) of the real images, computed if missing and needed. Each member has its
    own checkpoint, see `fine_tuning.fit`.
    """
    labels = images.labels if added is None else np.concatenate([images.labels, added.labels])
    job = replace(job, settings=job.settings.for_images(count_learned(images, added, job)))
    settings, seed, device, watched = job.settings, job.seed, job.device, job.watched
    members = [
        network.build_network(len(images.classes), job.backbone, derive_seed(seed, "classifier head", member), device)
        for member in range(settings.ensemble_size)
    ]
    for block in range(settings.frozen_blocks):  # random weights would differ
        for net in members[1:]:
            net.features[block] = members[0].features[block]
    if settings.cached_blocks:
        if features is None:
            features = network.all_features(members[0], images.pixels, settings, seed, device)
        if added is not None and len(added):
            own = network.all_features(members[0], added.pixels, settings, seed, device)
            features = torch.cat([features, own], dim=1)
        inputs = fine_tuning.feature_inputs(features, labels)
        views: Sequence[Pixels | Tensor] = list(features[: 2 if settings.mirror else 1])
    else:
        shown = images if added is None else together(images, added)
        if settings.heads == "hierarchical":
            frozen = members[0].features[: settings.frozen_blocks].eval()
            inputs = scan_inputs(shown, settings, frozen, device)
        else:
            inputs = fine_tuning.pixel_inputs(shown.pixels, labels, settings.augmentation, device)
        views = network.pixel_views(shown.pixels, settings.mirror)
    if settings.heads == "hierarchical" and settings.class_weights:  # the plain loss weights classes itself
        each = fine_tuning.class_weights(labels, len(images.classes), torch.device("cpu")).numpy()[labels]
        inputs = inputs._replace(weights=each.astype(np.float64))
    if settings.balance:  # an epoch shows the added images once
        shown_often = balanced_frequencies(images.labels, collections_of(images))
        inputs = inputs._replace(frequencies=np.concatenate([shown_often, np.ones(len(labels) - len(images))]))
    if not job.real:
        inputs = inputs.only(np.arange(len(images), len(labels)))
    if watched is not None:
        inputs = inputs._replace(measure=lambda net: network.measure(net, watched, settings.frozen_blocks, device))
    histories = [
        _fit_member(net, member, inputs, job, checkpoint=checkpoint, on_epoch=on_epoch)
        for member, net in enumerate(members)
    ]
    history = [
        {key: float(np.mean([row[key] for row in rows])) for key in rows[0]} for rows in zip(*histories, strict=True)
    ]
    answers = network.answer(members, views, settings.frozen_blocks, device, look=settings.look)
    learned = slice(0 if job.real else len(images), None)
    train_accuracy = float((answers.probabilities.argmax(axis=1) == labels)[learned].mean())
    counts = np.zeros(len(images.classes), np.int64) if added is None else added.counts
    return Trained(
        members=members,
        history=history,
        train_accuracy=train_accuracy,
        trust=fit_trust(images.pixels, answers.embeddings[: len(images)]),
        added=counts,
    )


def count_learned(images: LabelledImages, added: LabelledImages | None, job: ClassifierJob) -> int:
    """Return the number of images in an epoch."""
    return (len(images) if job.real else 0) + (0 if added is None else len(added))


def _fit_member(
    net: Any,
    member: int,
    inputs: fine_tuning.TrainingInputs,
    job: ClassifierJob,
    *,
    checkpoint: Path | None,
    on_epoch: Callable[[fine_tuning.EpochRow], None] | None,
) -> list[fine_tuning.EpochRow]:
    """Train one member, after its teachers if it has any; return its learning curve."""
    settings, teachers = job.settings, []

    def kept(name: str) -> Path | None:
        return None if checkpoint is None else checkpoint.with_stem(f"{checkpoint.stem}-{name}")

    for number in range(settings.teachers):
        head = derive_seed(job.seed, f"classifier head of teacher {number}", member)
        seed = derive_seed(job.seed, f"classifier of teacher {number}", member)
        teacher = network.build_network(net.classifier[1].out_features, job.backbone, head, job.device)
        fine_tuning.fit(
            teacher, inputs, settings, seed, checkpoint=kept(f"{member}-teacher{number}"), on_epoch=on_epoch
        )
        teachers.append(teacher)
    taught = fine_tuning.taught_by(inputs, teachers, settings) if teachers else inputs
    seed = derive_seed(job.seed, "classifier", member)
    return fine_tuning.fit(net, taught, settings, seed, checkpoint=kept(str(member)), on_epoch=on_epoch)
