"""The network of a bundle with the held-out record of a later run of the same recipe on the same images.

A bundle of an earlier version lacks what its manifest should say by now, such as when to abstain.  A new run
measures it; here the network stays, so that whatever was measured with it remains true.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sonoforge.export.bundle.network import read_network
from sonoforge.export.formats.onnx_graph import BundleGraph
from sonoforge.export.gate.parity import run_torch
from sonoforge.runtime.bundle.classification import ClassifierManifest
from sonoforge.runtime.bundle.reader import Bundle
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.classifier.model_folder import EvaluationRecord, ModelArrays, ModelRecord, TrainingRecord
from sonoforge.training.classifier.trust_reference import fit_neighbours, fit_reference
from sonoforge.training.data.cache_settings import CacheSettings
from sonoforge.training.data.data_option import recorded_data
from sonoforge.training.data.load import ImageSource, load_images
from sonoforge.training.run_folder import read_config

BATCH_NORM = "batch-norm.npz"
"""`models.mobilenetv2.folded_statistics` of a bundle's network, where it is one alone: it can be trained further."""
_SAME = (
    *(
        "data",
        "fingerprint",
        "images",
        "count",
        "class_counts",
        "arm",
        "budget",
        "epochs",
        "frozen_blocks",
        "ensemble_size",
    ),
    *("mirror", "weights", "seed"),
)
_BATCH = 32


def keep_network(
    bundle: Bundle[ClassifierManifest], run: Path, record: ModelRecord, arrays: ModelArrays
) -> tuple[BundleGraph, ModelRecord, ModelArrays]:
    """Put a bundle's network in the place of a run's final one.

    What depends on the network itself is measured anew on the training images: the trust reference and the accuracy on
    these.  All else is the run's, its limits and figures those of the networks of its folds.

    Args:
        bundle: Of a classifier.
        run: Folder of a ``run``, whose images must still be where they were.
        record: What its model folder says.
        arrays: Those of its model folder.

    Raises:
        SonoforgeError: The two were not made from the same images, classes, settings and initial weights; the run held
            images back from its final model; or its images have changed.
    """
    _refuse_others(bundle, run, record)
    config = read_config(run)
    source = ImageSource(
        recorded_data(config),
        int(config.get("images") or 0),
        int(config.get("seed") or 0),
        CacheSettings(str(config.get("cache") or "")).open(),
        record.preprocessing,
    )
    cache = load_images(source)
    if cache.fingerprint != record.training["fingerprint"]:
        raise SonoforgeError(f"{', '.join(source.data)}: found other images than those of {run}; restore them")
    graph = read_network(bundle)
    graph.temperature = record.temperature
    parts = [
        run_torch(graph, record.preprocessing.normalise(np.asarray(cache.images[first : first + _BATCH])))
        for first in range(0, len(cache.images), _BATCH)
    ]
    embeddings = np.concatenate([part["embedding"] for part in parts])
    predicted = np.concatenate([part["logits"] for part in parts]).argmax(axis=1)
    reference, neighbours = fit_reference(embeddings), fit_neighbours(embeddings)
    same = bundle.manifest
    training: TrainingRecord = {
        **record.training,
        "choice": f"{record.training['choice']} The weights are those of {same.name} {same.version}, trained earlier "
        "with the same settings; all figures but their accuracy on their own training images are of a later run.",
    }
    evaluation: EvaluationRecord = {
        **record.evaluation,
        "train_accuracy": float((predicted == cache.dataset.labels).mean()),
    }
    kept = replace(record, name=same.name, version=same.version, training=training, evaluation=evaluation)
    return (
        graph,
        kept,
        arrays._replace(
            trust_mean=reference.mean,
            trust_components=reference.components,
            trust_residual=reference.residual,
            neighbour_mean=neighbours.mean if neighbours else None,
            neighbour_axes=neighbours.axes if neighbours else None,
            neighbour_points=neighbours.points if neighbours else None,
        ),
    )


def _refuse_others(bundle: Bundle[ClassifierManifest], run: Path, record: ModelRecord) -> None:
    """Refuse a run that would not have made this network's like."""
    before: dict[str, Any] = bundle.manifest.raw["training"]
    seen = bundle.manifest.preprocessing
    was = {name: before.get(name) for name in _SAME} | {"crop": seen.crop, "image_size": seen.size}
    now = {**record.training, "crop": record.crop, "image_size": record.image_size}
    differing = [name for name in was if was[name] != now[name]]
    if bundle.classes != record.classes:
        differing.insert(0, "classes")
        was["classes"], now["classes"] = list(bundle.classes), list(record.classes)
    if differing:
        name = differing[0]
        raise SonoforgeError(
            f"{run}: {name}: found {now[name]!r:.80}, expected {was[name]!r:.80} as {bundle.path} has it; its network "
            "can be kept only with a run of the same recipe on the same images"
        )
    if record.training["count"] < record.training["data_images"]:
        raise SonoforgeError(
            f"{run}: found a model whose figures are its own, expected a cross-validated run; use sonoforge run"
        )
