"""The two sets of an evaluation that follows a training: images that it held out, and what its generator draws."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.evaluation.generated_images import find_generator
from sonoforge.training.evaluation.image_set import ImageSet, StoredSet, describe, resized
from sonoforge.training.evaluation.pictures import Pictures
from sonoforge.training.gan.batches.training_set import TrainingSet
from sonoforge.training.gan.setup import TrainingSetup


def real_set(setup: TrainingSetup) -> ImageSet:
    """Return the images that the training held out, or those trained on where it held none out.

    Of a class-conditional training only those of the settings' class, or all where they name none; masks are left out.

    Raises:
        SonoforgeError: Settings of another class, or fewer than 4 images.
    """
    how = "as the training saw them" + ("" if setup.held_out is None else ", held out")
    images = setup.originals if setup.held_out is None else setup.held_out
    return as_image_set(images, setup.settings.class_name, how)


def as_image_set(images: TrainingSet, class_name: str, how: str) -> ImageSet:
    """Return images of a training as one side of an evaluation, masks left out.

    Args:
        images: Of the training; where they have groups, no near-duplicates are looked for again.
        class_name: The only class to take of labelled images; empty for all.
        how: How they came to their size, in words.

    Raises:
        SonoforgeError: They are of other classes, or fewer than 4.
    """
    chosen = _of_class(images, class_name)
    if len(chosen) < 4:
        raise SonoforgeError(
            f"held_out: found {len(chosen)} images to measure against, expected at least 4; hold out a larger share"
        )
    pixels = images.pixels[chosen, ..., : images.image_channels]
    groups: list[str | None] = [None] * len(chosen)
    if images.groups is not None:
        groups = [f"scan {group}" for group in images.groups[chosen]]
    names = [str(index) for index in chosen]
    stored = describe(Pictures(list(pixels), names, groups, class_name, synthetic=False))
    found = resized(images.name, stored, pixels.shape[1], images.image_channels, how)
    found = replace(found, scans_known=images.groups is not None)
    if images.labels is None or class_name:
        return found
    counts = {name: int((images.labels == label).sum()) for label, name in enumerate(images.classes)}
    return replace(found, class_counts=counts)


def _of_class(images: TrainingSet, class_name: str) -> np.ndarray:
    if images.labels is None or not class_name:
        return np.arange(len(images))
    if class_name not in images.classes:
        raise SonoforgeError(f"class_name: found {class_name!r}, expected one of {', '.join(images.classes)}")
    return np.flatnonzero(images.labels == images.classes.index(class_name))


def generated_set(run: Path, real: ImageSet, count: int, seed: int, device: str) -> ImageSet:
    """Let the newest checkpoint of a run draw images of the class, size and channels of the real ones.

    Where these are of several classes, each has its share of the images.
    """
    if not real.class_counts:
        stored = find_generator(run, "last", real.class_name, seed, device).load(count)
    else:
        ends = np.rint(count * np.cumsum(list(real.class_counts.values())) / sum(real.class_counts.values()))
        ends = ends.astype(int)
        numbers = dict(zip(real.class_counts, np.diff(ends, prepend=0).tolist(), strict=True))
        parts = [find_generator(run, "last", name, seed, device).load(own) for name, own in numbers.items() if own]
        images = [image for part in parts for image in part.images]
        stored = StoredSet(images, [own for part in parts for own in part.described], synthetic=True)
    return resized(str(run), stored, real.pixels.shape[1], real.pixels.shape[3], "none")
