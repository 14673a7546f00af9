"""Store a generator's training images as a classifier's features, so that a device can measure KID without them.

KID needs one feature vector for each image.  The image cannot be restored from it, but it may show whether a given
image was in the training set: share it as you share the weights.
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
from sonoforge.training.gan.training_set import expand, hold_out, read_training_set
from sonoforge.training.run_folder import read_config

_BATCH = 8


class Reference(NamedTuple):
    """The reference in a bundle."""

    about: dict[str, Any]  # ``reference`` of the manifest
    arrays: dict[str, Any]  # ``embeddings`` and ``labels`` of ``reference.npz``


def make_reference(
    checkpoint: Path, about: Description, classifier: Bundle[ClassifierManifest], data: str = ""
) -> Reference:
    """Embed a generator's training images, as it saw them, with a classifier.

    ``data`` is where to read them; empty for the run's own path.
    """
    run = checkpoint.parent.parent
    given: dict[str, Any] = {
        field.name: tuple(value) if isinstance(value := about.settings[field.name], list) else value
        for field in dataclasses.fields(GanSettings)
        if field.name in about.settings
    }
    settings = GanSettings(**given)
    source = (data,) if data else recorded_data(read_config(run))
    share = settings.held_out or 0.0
    images, _ = hold_out(read_training_set(source, settings, groups=share > 0), share, settings.seed)
    found = expand(images, settings.expand, settings.seed).fingerprint
    if found != about.fingerprint:
        raise SonoforgeError(
            f"{', '.join(source)}: the images' fingerprint is {found[:16]}, but {run.name} was trained on images of "
            f"{about.fingerprint[:16]}; give its images with --data"
        )
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
