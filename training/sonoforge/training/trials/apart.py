"""The best trial measured anew, against images that chose nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sonoforge.training.gan.generator import load_generator
from sonoforge.training.gan.progress.tick_metrics import make_metric_reference, measure_metrics
from sonoforge.training.trials.source import Opened
from sonoforge.training.trials.training import METRICS


def measure_apart(folder: Path, opened: Opened) -> dict[str, Any]:
    """Measure a trial's last generator against the images that no trial was trained on or chosen by.

    Returns:
        As `tick_metrics.measure_metrics`; empty where no images were set apart.
    """
    if opened.apart is None or opened.job.space is None:
        return {}
    generator = load_generator(folder, opened.job.device)
    reference = make_metric_reference(
        METRICS, opened.job.space, opened.images, opened.apart, generator, opened.job.settings.seed
    )
    return measure_metrics(generator, reference, opened.images.image_channels)
