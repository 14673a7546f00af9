"""Write a bundle, format version 1: complete and checked, or not at all."""

from __future__ import annotations

import datetime
import hashlib
import io
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sonoforge.export.bundle.model_card import model_card
from sonoforge.export.bundle.provenance import provenance
from sonoforge.export.formats.onnx_graph import OUTPUTS, BundleGraph, to_onnx
from sonoforge.export.gate.parity import check, compare, run_torch
from sonoforge.runtime import atomic
from sonoforge.runtime.bundle.reader import open_bundle
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.preprocessing import IMAGENET, Preprocessing
from sonoforge.runtime.inference.classifier import Classifier
from sonoforge.training.classifier.model_folder import ModelArrays, ModelRecord


def fill_bundle(members: Sequence[Any], record: ModelRecord, arrays: ModelArrays, folder: Path) -> BundleGraph:
    """Export the model as ONNX, pass the first parity check, and write all files of a bundle.

    Args:
        members: The trained networks, on the CPU.
        record: What the manifest says of it.
        arrays: Trust reference and images.
        folder: An empty folder.

    Returns:
        The network that the bundle holds.

    Raises:
        GateError: onnxruntime does not answer as torch does.
    """
    graph = BundleGraph(members, record.temperature, record.shared_blocks, record.mirror).eval()
    preprocessing = IMAGENET.to_dict()
    model = to_onnx(graph, IMAGENET.size, model_metadata(IMAGENET, record.classes, f"{record.name} {record.version}"))
    images = f"{len(arrays.parity_pixels)} training images of {record.training.get('data', 'the data set')}"
    parity = compare(graph, model, arrays.parity_pixels, IMAGENET, images)
    check(parity)
    golden = run_torch(graph, IMAGENET.normalise(arrays.golden_pixels))
    shapes = {name: list(golden[name].shape[1:]) for name in OUTPUTS}
    contents = {
        "model.onnx": model,
        "reference.npz": _stored_npz(
            trust_mean=arrays.trust_mean,
            trust_components=arrays.trust_components,
            trust_residual=arrays.trust_residual,
        ),
        "golden.npz": _npz(pixels=arrays.golden_pixels, **golden),
        "MODEL_CARD.md": model_card(record, parity).encode(),
    }
    files = {name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)} for name, data in contents.items()}
    manifest = {
        "format_version": 1,
        "task": "classification",
        "name": record.name,
        "version": record.version,
        "created": creation_time(),
        "classes": list(record.classes),
        "preprocessing": preprocessing,
        "outputs": shapes,
        "files": {**files, "model.onnx": {**files["model.onnx"], "precision": "fp32", "format": "onnx"}},
        "calibration": {"temperature": record.temperature, "protocol": "fitted on out-of-fold predictions"},
        "conformal": record.conformal,
        "trust": {"method": "ppca-mahalanobis", **record.trust},
        "quality": record.quality,
        "training": record.training,
        "evaluation": record.evaluation,
        "parity": parity,
        "provenance": provenance(),
        "intended_use": record.intended_use,
    }
    for name, data in contents.items():
        atomic.write_bytes(folder / name, data)
    atomic.write_json(folder / "manifest.json", manifest)
    bundle = open_bundle(folder)  # the reader must accept what the writer wrote
    Classifier(bundle)
    bundle.golden()
    return graph


def model_metadata(preprocessing: Preprocessing, classes: Sequence[str], name: str) -> dict[str, str]:
    """Return the text that every model file carries, where its format has a place for it."""
    return {
        "sonoforge.preprocessing": json.dumps(preprocessing.to_dict()),
        "sonoforge.classes": json.dumps(list(classes)),
        "sonoforge.name": name,
        "sonoforge.use": "research use, not a medical device",
    }


def creation_time() -> str:
    """Now, or the time that SOURCE_DATE_EPOCH gives (seconds since 1970) for builds that shall repeat themselves.

    Raises:
        SonoforgeError: SOURCE_DATE_EPOCH is not a whole number.
    """
    given = os.environ.get("SOURCE_DATE_EPOCH")
    if given and not given.isdecimal():
        raise SonoforgeError(f"SOURCE_DATE_EPOCH: found {given!r}, expected seconds since 1970")
    seconds = float(given) if given else time.time()
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).isoformat(timespec="seconds")


def _stored_npz(**arrays: Any) -> bytes:
    """Uncompressed: every start of ``classify`` reads it, and noise-like floats hardly shrink."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def _npz(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()
