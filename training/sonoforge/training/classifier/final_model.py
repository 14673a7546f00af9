"""The model that leaves the workstation: trained on all images, calibrated on out-of-fold predictions."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.images import quality_metrics as image_quality
from sonoforge.training.classifier.arms import (
    ARMS,
    Trained,
    fill_classes,
    settings_of_arm,
    train_arm,
)
from sonoforge.training.classifier.fine_tuning import ClassifierSettings
from sonoforge.training.classifier.model_folder import ModelArrays, ModelRecord, save_model
from sonoforge.training.classifier.weights import HASH_PREFIX, Backbone
from sonoforge.training.data.cache import ImageCache
from sonoforge.training.data.selection import evenly_spaced
from sonoforge.training.data.splits import SplitPlan, scan_groups
from sonoforge.training.devices import deterministic_kernels, open_fabric
from sonoforge.training.phantom.dataset import generate_phantom_set
from sonoforge.training.progress import is_interactive, progress_bar
from sonoforge.training.statistics import calibration, conformal
from sonoforge.training.statistics.predictions import Predictions
from sonoforge.training.statistics.tables import ALPHA, describe_arm
from sonoforge.training.verbs.crossval import Setting

log = logging.getLogger(__name__)

INTENDED_USE = (
    "Research on computer-aided reading of {data} images: sorting single still images into {classes}. Not for "
    "diagnosis, triage or any decision about a patient; not cleared by any authority."
)
PARITY_IMAGES = 128
GOLDEN_IMAGES = 6


def train_final(
    folder: Path,
    cache: ImageCache,
    indices: NDArray[np.int64],
    arm: str,
    setting: Setting,
    backbone: Backbone,
    seed: int,
) -> Trained:
    """Train one arm on the given images, continuing from ``folder`` if it was interrupted.

    Args:
        folder: Keeps the epoch checkpoint and the generators.
        cache: Decoded images.
        indices: Images to train on.
        arm: Row of `arms.ARMS`.
        setting: See `crossval.resolve_setting`.
        backbone: Initial weights.
        seed: Seed of everything.
    """
    fabric = open_fabric(setting.device)
    settings = settings_of_arm(ARMS[arm], setting.classifier)
    classes = cache.dataset.classes
    pixels, labels = cache.images[indices], cache.dataset.labels[indices]
    extra = fill_classes(
        *(ARMS[arm], pixels, labels, classes, folder / "gan"),
        *(setting.gan, seed, setting.device, setting.gan_features),
        groups=scan_groups(cache)[indices],
    )
    watched = is_interactive()
    with (
        deterministic_kernels(fabric.device),
        progress_bar("final model", settings.epochs, show=watched) as advance,
    ):

        def on_epoch(row: dict[str, float]) -> None:
            advance(int(row["epoch"]), f"loss {row['loss']:.3f}")
            if not watched:
                log.info("epoch %d of %d: loss %.3f", row["epoch"], settings.epochs, row["loss"])

        return train_arm(
            pixels,
            labels,
            len(classes),
            None,
            extra,
            backbone,
            settings,
            seed,
            fabric.device,
            checkpoint=folder / "checkpoint.pt",
            on_epoch=on_epoch,
        )


def quality_reference(cache: ImageCache, indices: NDArray[np.int64]) -> dict[str, dict[str, float]]:
    """1st and 99th percentile of every image-quality metric over the training images."""
    rows = [image_quality.measure(cache.images[i], int(cache.sizes[i][0]), int(cache.sizes[i][1])) for i in indices]
    return {
        name: {
            "low": float(np.percentile([row[name] for row in rows], 1)),
            "high": float(np.percentile([row[name] for row in rows], 99)),
        }
        for name in rows[0]
    }


def record_model(
    folder: Path,
    trained: Trained,
    cache: ImageCache,
    indices: NDArray[np.int64],
    plan: SplitPlan,
    held_out: Predictions,
    held_out_distances: NDArray[np.float64],
    description: dict[str, Any],
    name: str,
) -> ModelRecord:
    """Calibrate on held-out predictions and write the model folder that ``export`` reads.

    Args:
        folder: The model folder, ``RUN/model``.
        trained: The final network.
        cache: Decoded images.
        indices: Images it was trained on.
        plan: Split plan, for the number of groups and the fingerprint.
        held_out: Predictions of images by models that did not train on them.
        held_out_distances: Their distances from the training embeddings of the model that predicted them.
        description: `crossval.describe_setting`.
        name: Name of the model.
    """
    classes, labels = cache.dataset.classes, cache.dataset.labels[indices]
    temperature = calibration.fit_temperature(held_out.labels, held_out.probabilities)
    calibrated = calibration.cross_fitted_temperature(held_out.labels, held_out.probabilities, held_out.folds)
    coverage, set_size = conformal.conformal_coverage(held_out.labels, calibrated, held_out.folds, ALPHA)
    scaled = calibration.apply_temperature(held_out.probabilities, temperature)
    thresholds = conformal.conformal_thresholds(held_out.labels, scaled, ALPHA)
    figures = describe_arm(held_out, classes)
    settings = settings_of_arm(ARMS[held_out.arm], ClassifierSettings(**description["classifier"]))
    evaluation = {
        "protocol": held_out.protocol,
        "folds": len(np.unique(held_out.folds)),
        "budget": description["budget"],
        "arm": held_out.arm,
        "train_accuracy": trained.train_accuracy,
        **figures,
    }
    training = {
        "data": cache.dataset.name,
        "count": len(indices),
        "class_counts": {c: int((labels == i).sum()) for i, c in enumerate(classes)},
        "groups": len({plan.groups[i] for i in indices}),
        "fingerprint": plan.fingerprint,
        "arm": held_out.arm,
        "title": ARMS[held_out.arm].title,
        "budget": description["budget"],
        "epochs": settings.epochs,
        "frozen_blocks": settings.frozen_blocks,
        "members": settings.members,
        "mirror": settings.mirror,
        "weights": description["weights"],
        "seed": held_out.seed,
        "images": sorted({cache.hashes[i][:HASH_PREFIX] for i in indices}),
    }
    record = ModelRecord(
        name=name,
        version="1.0.0",
        classes=tuple(classes),
        shared_blocks=settings.frozen_blocks,
        mirror=settings.mirror,
        temperature=temperature,
        conformal={
            "alpha": ALPHA,
            "thresholds": dict(zip(classes, thresholds.tolist(), strict=True)),
            "measured_coverage": dict(zip(classes, coverage.tolist(), strict=True)),
            "mean_set_size": set_size,
        },
        trust={
            "median": float(np.median(held_out_distances)),
            "threshold": float(np.percentile(held_out_distances, 95)),
        },
        quality=quality_reference(cache, indices),
        training=training,
        evaluation=evaluation,
        intended_use=INTENDED_USE.format(data=cache.dataset.name, classes=" / ".join(classes)),
    )
    side = cache.images.shape[1]
    spread = indices[evenly_spaced(len(indices), PARITY_IMAGES)]
    # Golden vectors are simulated scans, so that a bundle carries no patient's image.
    golden = [np.repeat(image.pixels[:, :, None], 3, axis=2) for image in generate_phantom_set(GOLDEN_IMAGES, 0, side)]
    arrays = ModelArrays(*trained.reference, np.asarray(cache.images[spread]), np.stack(golden))
    save_model(folder, trained.members, record, arrays)
    return record
