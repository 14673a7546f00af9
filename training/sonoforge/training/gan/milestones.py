"""Evaluate a run of ``sonoforge gan train`` by itself: its training and held-out images, samples and milestones.

Milestones are shares of its length with checkpoints that are kept and measured. Ryspayeva and Salykova 2025 measure
StyleGAN2 and StyleGAN3 after 100, 500 and 1000 epochs: shares 0.1, 0.5 and 1.
"""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from sonoforge.runtime.atomic import write_json
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.data.data_option import recorded_data
from sonoforge.training.evaluation.image_set import HeldOut, ImageSet, StoredSet, check_class, resized, store_arrays
from sonoforge.training.evaluation.measure import EvaluationProtocol, Protocol, measure_sets, protocol_id
from sonoforge.training.evaluation.projections import pca_projection
from sonoforge.training.evaluation.spaces import CHOICES, IMAGENET_NETWORKS
from sonoforge.training.gan import checkpoint as gan_checkpoint
from sonoforge.training.gan.image_sets import find_generator, without_repeats
from sonoforge.training.gan.networks import find_architecture
from sonoforge.training.gan.options import GanSettings
from sonoforge.training.gan.training import Training
from sonoforge.training.gan.training_set import TrainingSet, expand_classes, read_training_set, set_aside
from sonoforge.training.run_folder import CONFIG, read_config
from sonoforge.training.run_options import EvaluationInput
from sonoforge.training.statistics.results import Record


def real_set(training: Training) -> ImageSet:
    """Return the held-out images of the training, or its training images if none were, without masks.

    For a class-conditional training, return only the settings' class, or all if there is none.

    Raises:
        SonoforgeError: The settings have another class, or there are fewer than 4 images.
    """
    how = "as the training saw them" + ("" if training.held_out is None else ", held out")
    images = training.originals if training.held_out is None else training.held_out
    return as_image_set(images, training.settings.class_name, how)


def as_image_set(images: TrainingSet, class_name: str, how: str) -> ImageSet:
    """Return images of a training run as one side of an evaluation, without masks.

    If they have groups, near-duplicates are not searched for again.  ``class_name`` is the only class to take of
    labelled images, ``how`` says how they were resized.

    Raises:
        SonoforgeError: They show other classes, or are fewer than 4.
    """
    chosen = np.arange(len(images))
    if images.labels is not None and class_name:
        shown = check_class(images.name, class_name, images.classes)
        chosen = np.flatnonzero(images.labels == images.classes.index(shown))
    if len(chosen) < 4:
        raise SonoforgeError(
            f"held_out: {len(chosen)} images to measure against are fewer than 4; hold out a larger share"
        )
    pixels = images.pixels[chosen, ..., : images.image_channels]
    groups = [] if images.groups is None else [f"scan {group}" for group in images.groups[chosen]]
    names = [str(index) for index in chosen]
    stored = store_arrays(list(pixels), names, class_name, declared=False, groups=groups)
    found = resized(images.name, stored, pixels.shape[1], images.image_channels, how)
    found = replace(found, scans_known=images.groups is not None)
    if images.labels is None or class_name:
        return found
    counts = {name: int((images.labels == label).sum()) for label, name in enumerate(images.classes)}
    return replace(found, class_counts=counts)


def generated_set(run: Path, real: ImageSet, count: int, seed: int, device: str) -> ImageSet:
    """Let a run's newest checkpoint draw images of the same class, size and channels as the real ones.

    Each of several classes gets its share.
    """
    if not real.class_counts:
        stored = find_generator(run, "last", real.class_name, seed, device).load(count)
    else:
        ends = np.rint(count * np.cumsum(list(real.class_counts.values())) / sum(real.class_counts.values()))
        ends = ends.astype(int)
        numbers = dict(zip(real.class_counts, np.diff(ends, prepend=0).tolist(), strict=True))
        parts = [find_generator(run, "last", name, seed, device).load(own) for name, own in numbers.items() if own]
        images = [image for part in parts for image in part.images]
        stored = StoredSet(images, [own for part in parts for own in part.described], declared=True)
    return resized(str(run), stored, real.pixels.shape[1], real.pixels.shape[3], "none")


@dataclass(frozen=True)
class EvaluatedSets:
    """The image sets of an evaluation."""

    real: ImageSet  # real images to measure the generated ones against
    trained: ImageSet  # training images, which the generator may have copied
    held_out: HeldOut | None  # real images that it never saw
    fake: ImageSet


def read_own_images(inputs: EvaluationInput, cache_folder: Path | None = None) -> EvaluatedSets:
    """Read the images of a run again, split them as it did, and let its generator draw as many as it was trained on.

    ``inputs.real`` is the run's folder, or a checkpoint's; its image size and channels are kept.

    Raises:
        SonoforgeError: The checkpoint or its settings are missing, or the images are not its training images.
    """
    checkpoint = gan_checkpoint.find_checkpoint(Path(inputs.real), inputs.checkpoint)
    about, run = gan_checkpoint.describe(checkpoint), checkpoint.parent.parent
    find_architecture(about.architecture, checkpoint)  # own code from its copy, before the settings ask for it
    config = read_config(run)
    paths = recorded_data(config)
    if not paths:
        raise SonoforgeError(
            f"{run}: has no config.yaml that says where its images are; give them: evaluate REAL {run}"
        )
    if inputs.image_size or inputs.channels != "auto":
        raise SonoforgeError(f"image_size and channels: without FAKE, {run} keeps its own; leave them out")
    names = {field.name for field in dataclasses.fields(GanSettings)}
    settings = GanSettings(**{key: value for key, value in about.settings.items() if key in names})
    groups_from = str(config.get("groups_from") or "")
    images = read_training_set(paths, settings, groups=True, groups_from=groups_from, cache_folder=cache_folder)
    images = expand_classes(images, settings.expand_to, settings.seed)
    share = settings.held_out or 0.0
    kept, held_out = set_aside(images, share, settings.seed) if share else (images, None)
    if settings.expand == 1 and kept.fingerprint != about.fingerprint:
        raise SonoforgeError(
            f"{run}: {', '.join(paths)} no longer holds its training images; give the real images: evaluate REAL {run}"
        )
    trained = as_image_set(kept, inputs.class_name or settings.class_name, "as the training saw them")
    apart = None
    if held_out is not None:
        own = as_image_set(held_out, inputs.class_name or settings.class_name, "as the training saw them, held out")
        apart = without_repeats(own, trained)
    reals = apart.images if apart else trained
    count = inputs.count or len(trained)
    fake = generated_set(checkpoint, reals, count, inputs.seed, inputs.device)
    if images.originals is not None:
        reals = replace(reals, originals=tuple(images.originals))
    return EvaluatedSets(reals, trained, apart, fake)


def seen_by_discriminator(checkpoint: Path) -> str:
    """Return the frozen network that a generator's discriminator saw images through; empty without one."""
    about = gan_checkpoint.describe(checkpoint)
    judge = about.composition.get("discriminator_architecture") or about.architecture
    return str(about.settings.get("features", "")).partition(" ")[0] if judge == "projected" else ""


def measured_in(checkpoint: Path) -> tuple[str, str]:
    """Return the feature space of a training run's metrics, and the file of its weights; empty if unknown."""
    about = gan_checkpoint.describe(checkpoint)
    name, run = str(about.settings.get("metric_features", "")), checkpoint.parent.parent
    given = read_config(run) if name and (run / CONFIG).is_file() else {}
    if given.get("gan.metric_features"):
        return str(given["gan.metric_features"]), str(given.get("gan.metric_weights") or "")
    own = name.split(" ", maxsplit=1)[0].rstrip(",")
    spaces = {network: space for space, network in IMAGENET_NETWORKS.items()}
    features = str(given.get("gan.features") or "")
    return spaces.get(own, own if own in CHOICES else ""), features if own in spaces and features != own else ""


class Milestone(TypedDict):
    """The content of a checkpoint's ``milestone-STEP.json``; points are of `projections.pca_projection`."""

    protocol: Protocol
    protocol_id: str
    metrics: list[Record]
    not_measured: list[Record]
    pca: dict[str, Any]  # `real` and `fake`, (N, 2) points each; `explained`, (2,) shares; `protocol`, in words


def milestone_steps(shares: Sequence[float], steps: int) -> tuple[int, ...]:
    """Return the step at each of these ascending shares of a training run, 0 (excluded) to 1.

    Raises:
        SonoforgeError: Two milestones fall on the same step.
    """
    found = tuple(max(1, round(share * steps)) for share in shares)
    if len(set(found)) < len(found):
        raise SonoforgeError(
            f"--milestones: {steps} steps are too few for {len(found)} shares; give fewer, or train longer"
        )
    return found


def measure_milestone(
    checkpoint: Path, real: ImageSet, evaluation: EvaluationProtocol, count: int, device: str
) -> Milestone:
    """Measure the images of a kept checkpoint, or read what was measured earlier under this protocol.

    The figures of ``RUN/checkpoints/step-STEP`` are kept as ``RUN/milestone-STEP.json``; ``real``: see `real_set`.
    """
    path = checkpoint.parent.parent / f"milestone-{checkpoint.name.removeprefix('step-')}.json"
    protocol = evaluation.describe(real, count)
    if path.is_file():
        kept: Milestone = json.loads(path.read_text(encoding="utf-8"))
        if kept["protocol_id"] == protocol_id(protocol):
            return kept
    fake = generated_set(checkpoint, real, count, evaluation.seed, device)
    rows, not_measured = measure_sets(evaluation, real, fake)
    drawn = pca_projection(real.pixels, fake.pixels)
    points = {"real": drawn.real.tolist(), "fake": drawn.fake.tolist()}
    measured = Milestone(
        protocol=protocol,
        protocol_id=protocol_id(protocol),
        metrics=rows,
        not_measured=not_measured,
        pca={**points, "explained": drawn.explained, "protocol": drawn.protocol},
    )
    write_json(path, measured)
    return measured
