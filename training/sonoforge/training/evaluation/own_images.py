"""A run of ``sonoforge gan train`` by itself: the images that it trained on and held out, and those that it draws."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.evaluation.after_training import as_image_set, generated_set
from sonoforge.training.evaluation.image_set import ImageSet
from sonoforge.training.evaluation.inputs import EvaluationInput, without_repeats
from sonoforge.training.gan import checkpoint as gan_checkpoint
from sonoforge.training.gan.batches.training_set import read_training_set, set_aside
from sonoforge.training.gan.options import GanSettings
from sonoforge.training.run_folder import read_config


@dataclass(frozen=True)
class EvaluatedSets:
    """What an evaluation compares."""

    real: ImageSet  # real images that the generated ones are measured against
    trained: ImageSet  # those that the generator was trained on, which it may have copied
    held_out: tuple[ImageSet, NDArray[np.int64]] | None  # those that it never saw, see `inputs.read_held_out`
    fake: ImageSet


def read_own_images(inputs: EvaluationInput) -> EvaluatedSets:
    """Read the images of a run again, split them as it did, and let its generator draw as many as it was trained on.

    Args:
        inputs: ``real`` is the run's folder, or a checkpoint's; its image size and channels are kept.

    Raises:
        SonoforgeError: No such checkpoint, no settings beside it, or other images than it was trained on.
    """
    checkpoint = gan_checkpoint.find_checkpoint(Path(inputs.real), inputs.checkpoint)
    about, run = gan_checkpoint.describe(checkpoint), checkpoint.parent.parent
    data: Any = read_config(run).get("data")
    if not data:
        raise SonoforgeError(f"{run}: found no config.yaml that names its images; give these: evaluate REAL {run}")
    if inputs.image_size or inputs.channels != "auto":
        raise SonoforgeError(f"image_size and channels: found with {run} alone, whose own are kept; leave them out")
    names = {field.name for field in dataclasses.fields(GanSettings)}
    settings = GanSettings(**{key: value for key, value in about.settings.items() if key in names})
    paths = tuple(data) if isinstance(data, list) else (str(data),)
    images = read_training_set(paths, settings, groups=True, cache_folder=inputs.cache_folder)
    share = settings.held_out or 0.0
    kept, held_out = set_aside(images, share, settings.seed) if share else (images, None)
    if settings.expand == 1 and kept.fingerprint != about.fingerprint:
        raise SonoforgeError(
            f"{run}: found other images in {data} than it was trained on; give those of now: evaluate REAL {run}"
        )
    trained = as_image_set(kept, inputs.class_name or settings.class_name, "as the training saw them")
    apart = None
    if held_out is not None:
        own = as_image_set(held_out, inputs.class_name or settings.class_name, "as the training saw them, held out")
        apart = without_repeats(own, trained)
    reals = apart[0] if apart else trained
    count = inputs.count or len(trained)
    fake = generated_set(checkpoint, reals, count, inputs.seed, inputs.device)
    return EvaluatedSets(reals, trained, apart, fake)


def seen_by_discriminator(checkpoint: Path) -> str:
    """Name the frozen network that a generator's discriminator saw images through; empty where there was none."""
    about = gan_checkpoint.describe(checkpoint)
    judge = about.composition.get("discriminator_architecture") or about.architecture
    return str(about.settings.get("features", "")).partition(" ")[0] if judge == "projected" else ""
