"""Small real bundles of generators, made without torch: one layer in ONNX whose images numpy can recompute."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from bundle_factory import npz
from sonoforge.runtime.bundle.manifest import with_digest
from sonoforge.runtime.inference.latents import draw_latent

SIDE, LATENT = 32, 6
CLASSES = ("a", "b")
SEEDS = (0, 1, 2)


def weights() -> dict[str, NDArray[np.float32]]:
    """Return what the latents are multiplied by, and what is added for each class."""
    rng = np.random.default_rng(3)
    return {
        "spread": (0.4 * rng.normal(size=(LATENT, SIDE * SIDE))).astype(np.float32),
        "mean": (0.3 * rng.normal(size=(len(CLASSES), SIDE * SIDE))).astype(np.float32),
    }


def draw(latents: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.float32]:
    """Compute (N, 1, S, S) in numpy: the independent reference."""
    w = {name: value.astype(np.float64) for name, value in weights().items()}
    values = np.tanh(latents.astype(np.float64) @ w["spread"] + w["mean"][labels])
    return values.reshape(-1, 1, SIDE, SIDE).astype(np.float32)


def model_bytes() -> bytes:
    """Build the ONNX file."""
    arrays: dict[str, NDArray[Any]] = {**weights(), "shape": np.array([-1, 1, SIDE, SIDE])}
    nodes = [
        helper.make_node("MatMul", ["latents", "spread"], ["spread_out"]),
        helper.make_node("Gather", ["mean", "labels"], ["mean_of_class"]),
        helper.make_node("Add", ["spread_out", "mean_of_class"], ["sum"]),
        helper.make_node("Tanh", ["sum"], ["flat"]),
        helper.make_node("Reshape", ["flat", "shape"], ["images"]),
    ]
    graph = helper.make_graph(
        nodes,
        "layer",
        [
            helper.make_tensor_value_info("latents", TensorProto.FLOAT, ["batch", LATENT]),
            helper.make_tensor_value_info("labels", TensorProto.INT64, ["batch"]),
        ],
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 1, SIDE, SIDE])],
        [numpy_helper.from_array(value, name) for name, value in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def write_generator(folder: Path, reference: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Path:
    """Write a whole valid bundle with these training images in a classifier's features; return its folder."""
    latents = np.stack([draw_latent(seed, 0, LATENT) for seed in SEEDS])
    labels = np.arange(len(SEEDS), dtype=np.int64) % len(CLASSES)
    golden = {"seeds": np.array(SEEDS, np.int64), "labels": labels, "psi": np.ones(len(SEEDS), np.float32)}
    files = {
        "generator.onnx": model_bytes(),
        "golden.npz": npz(**golden, images=draw(latents, labels)),
        "MODEL_CARD.md": b"# A generator for tests\n",
        "reference.npz": npz(**arrays),
    }
    folder.mkdir(parents=True)
    entries: dict[str, dict[str, Any]] = {}
    for name, data in files.items():
        (folder / name).write_bytes(data)
        entries[name] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    entries["generator.onnx"] |= {"precision": "fp32", "format": "onnx"}
    manifest = {
        "format_version": 1,
        "task": "generation",
        "name": "layer",
        "version": "step-7",
        "created": "2024-01-01T00:00:00Z",
        "classes": list(CLASSES),
        "recipe": "dcgan",
        "image": {"size": SIDE, "channels": 1, "masks": 0, "structures": [], "range": [-1, 1]},
        "class_name": "",
        "latents": {"recipe": "sha256-box-muller-1", "size": LATENT, "distribution": "normal"},
        "inputs": {"latents": ["N", LATENT], "labels": ["N"]},
        "outputs": {"images": ["N", 1, SIDE, SIDE]},
        "psi": {"accepted": False, "default": 1.0},
        "training": {
            **{"step": 7, "data": "pictures", "fingerprint": "0" * 64, "generator_sha256": "0" * 64},
            **{"label_maps": 0, "weights": "", "sources": [], "measured": {}},
        },
        "parity": {},
        "provenance": {},
        "reference": reference,
        "intended_use": "Tests only.",
        "files": entries,
    }
    (folder / "manifest.json").write_text(json.dumps(with_digest(manifest), indent=2), encoding="utf-8")
    return folder
