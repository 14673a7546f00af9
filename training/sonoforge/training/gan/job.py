"""A training that is ready to run: its settings, and the networks and files that they name, opened."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.devices import open_fabric
from sonoforge.training.gan.batches.training_set import TrainingSet
from sonoforge.training.gan.options import PRECISIONS, GanSettings
from sonoforge.training.gan.settings import measures_in_features
from sonoforge.training.gan.starting_weights import StartingWeights, read_starting_weights
from sonoforge.training.metrics.features import Features, open_features
from sonoforge.training.metrics.spaces import Space, network_space, open_space
from sonoforge.training.metrics.suited_space import choose_space


@dataclasses.dataclass(frozen=True, eq=False)
class GanJob:
    """What `engine.train_gan` trains, beside its images."""

    settings: GanSettings  # `held_out` None is none
    device: str = "auto"  # `auto`, `cpu`, `cuda` or `cuda:N`; under `torchrun` all processes work on one training
    features: Features | None = None  # network of the perceptual term, or that a projected discriminator sees through
    space: Space | None = None  # feature space that `settings.metrics` are measured in
    start_from: StartingWeights | None = None  # weights that the training starts from
    # Steps after which it pauses as if interrupted, to be resumed, and whose checkpoints are never removed.
    milestones: tuple[int, ...] = ()
    # Of the choice of what is held out; None: the settings' own.  With one, trainings of many seeds hold out the same.
    held_out_seed: int | None = None

    def record(self) -> dict[str, Any]:
        """Return the settings as run folders and checkpoints keep them: networks and files by name and hash."""
        values = dataclasses.asdict(self.settings)
        del values["metric_weights"]  # their hash is in the name of the space
        return values | {
            "features": self.features.name if self.features else "",
            "metric_features": self.space.name if self.space else "",
            "start_from": self.start_from.name if self.start_from else "",
            "held_out": self.settings.held_out or 0.0,
        }


def open_job(settings: GanSettings, device: str = "auto") -> GanJob:
    """Open what the settings name.

    The metrics are measured in ``metric_features``, else in the network of the perceptual term, if there is one; else
    `with_space` chooses, once the images are known.

    Raises:
        SonoforgeError: A network or file that cannot be opened, or a device that does not exist.
    """
    settings = dataclasses.replace(settings, metrics=tuple(name for name in settings.metrics if name != "none"))
    target = open_fabric(device, PRECISIONS[settings.precision]).device
    features = open_features(settings.features, target) if settings.features else None
    space = _open_space(settings, features, target) if settings.metrics else None
    start_from = read_starting_weights(Path(settings.start_from)) if settings.start_from else None
    return GanJob(settings, device, features, space, start_from)


def _open_space(settings: GanSettings, features: Features | None, device: torch.device) -> Space | None:
    if settings.metric_weights and not settings.metric_features:
        raise SonoforgeError(
            f"metric_weights: found {settings.metric_weights} without metric_features, expected both; name the space "
            "that the weights are of"
        )
    if features is not None and not settings.metric_features and measures_in_features(settings):
        return network_space(features)
    if not settings.metric_features:
        return None
    return open_space(settings.metric_features, settings.metric_weights or None, device)


def with_space(job: GanJob, images: TrainingSet) -> GanJob:
    """Give a job that measures, and that names no feature space, one that suits the images.

    Raises:
        SonoforgeError: See `suited_space.choose_space`.
    """
    if not job.settings.metrics or job.space is not None:
        return job
    originals = images.pixels[..., : images.image_channels] if images.originals is None else images.originals
    choice = choose_space(list(originals), images.name or "the training images", "--metric-features")
    device = open_fabric(job.device, PRECISIONS[job.settings.precision]).device
    return dataclasses.replace(job, space=open_space(choice, None, device))
