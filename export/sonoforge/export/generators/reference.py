"""A generator's training images in a classifier's features, so that KID of what it draws can be measured anywhere.

A device has no training images, and must not have them.  What KID needs of them is one feature vector each, which an
image does not follow from, but which may tell whether a given image was among them: share it as the weights.
"""

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sonoforge.runtime.bundle.classification import ClassifierManifest
from sonoforge.runtime.bundle.reader import Bundle
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.synthetic import as_picture
from sonoforge.runtime.inference.classifier import Classifier
from sonoforge.training.data.data_option import recorded_data
from sonoforge.training.gan.checkpoint import Description
from sonoforge.training.gan.options import GanSettings
from sonoforge.training.gan.sampling import AffineRanges
from sonoforge.training.gan.training_set import TrainingSet, expand, hold_out, read_training_set
from sonoforge.training.run_folder import read_config

_BATCH = 8


class Reference(NamedTuple):
    """What a bundle records."""

    about: dict[str, Any]  # ``reference`` of the manifest
    arrays: dict[str, Any]  # ``embeddings`` and ``labels`` of ``reference.npz``


def make_reference(
    checkpoint: Path, about: Description, classifier: Bundle[ClassifierManifest], data: str = ""
) -> Reference:
    """Embed the images that a generator was trained on, as it saw them, in a classifier's features.

    They are read from ``data``, by default from where the run says.

    Raises:
        SonoforgeError: The images cannot be read, or are not those of the training.
    """
    images = _training_images(checkpoint, about, data)
    network, preprocessing = Classifier(classifier), classifier.manifest.preprocessing
    pixels = images.pixels[..., : images.image_channels]
    resized = np.stack([preprocessing.resize(as_picture(image)) for image in pixels])
    rows = [network.predict(resized[first : first + _BATCH])["embedding"] for first in range(0, len(resized), _BATCH)]
    labels = np.zeros(len(images), np.int64) if images.labels is None else images.labels.astype(np.int64)
    embeddings = np.concatenate(rows).astype(np.float16)  # moved KID by 5e-7 of its value on BUSI
    names = about.classes or [about.class_name]
    counts = {name: int((labels == label).sum()) for label, name in enumerate(names)}
    record = {"model": classifier.manifest.identity, "dimension": embeddings.shape[1], "images": counts}
    return Reference(record, {"embeddings": embeddings, "labels": labels})


def _training_images(checkpoint: Path, about: Description, data: str) -> TrainingSet:
    """Read them again, and compare them with the fingerprint of the training."""
    run = checkpoint.parent.parent
    given: dict[str, Any] = {
        field.name: tuple(value) if isinstance(value := about.settings[field.name], list) else value
        for field in dataclasses.fields(GanSettings)
        if field.name in about.settings
    }
    settings = GanSettings(**given)
    source = (data,) if data else recorded_data(read_config(run))
    share = settings.held_out or 0.0
    kept, _ = hold_out(read_training_set(source, settings, groups=share > 0), share, settings.seed)
    found = expand(kept, settings.expand, AffineRanges(), settings.seed).fingerprint
    if found != about.fingerprint:
        raise SonoforgeError(
            f"{', '.join(source)}: found images of fingerprint {found[:16]}, expected {about.fingerprint[:16]} of the "
            f"training of {run.name}; give its images with --data"
        )
    return kept
