"""Small real bundles, made without torch: a patch network in ONNX whose answers numpy can recompute."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from sonoforge.runtime.bundle.manifest import with_digest

SIZE, PATCH, FEATURES = 64, 8, 12
CLASSES = ("normal", "benign", "malignant")
TEMPERATURE = 1.7
REFERENCE = {"normal": 0.2, "benign": 0.5, "malignant": 0.3}
DECISION: dict[str, Any] = {
    "reference": REFERENCE,
    "protocol": "stated",
    "questions": [
        {
            "name": name,
            "positive": positive,
            "among": among,
            "points": [
                {"aim": 0.9, "threshold": 0.5, "sensitivity": 0.91, "specificity": 0.7},
                {"aim": 0.95, "threshold": 0.3, "sensitivity": 0.94, "specificity": 0.5},
            ],
        }
        for name, positive, among in (
            ("lesion", ["benign", "malignant"], list(CLASSES)),
            ("malignant", ["malignant"], ["benign", "malignant"]),
        )
    ],
}
PREPROCESSING = {
    "size": SIZE,
    "resample": "bilinear",
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
    "crop": "none",
}


def weights(seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """Return the parameters of the patch network."""
    rng = np.random.default_rng(seed)
    return {
        "kernel": (rng.normal(size=(FEATURES, 3, PATCH, PATCH)) / np.sqrt(3 * PATCH**2)).astype(np.float32),
        "kernel_bias": rng.uniform(0.2, 0.8, FEATURES).astype(np.float32),
        "head": (3 * rng.normal(size=(len(CLASSES), FEATURES))).astype(np.float32),
        "head_bias": rng.normal(size=len(CLASSES)).astype(np.float32),
    }


def forward(pixels: NDArray[np.uint8], seed: int = 0) -> dict[str, NDArray[np.float64]]:
    """Compute the network's outputs for (N, S, S, 3) uint8 in numpy float64: the independent reference."""
    w = {name: value.astype(np.float64) for name, value in weights(seed).items()}
    mean, std = np.array(PREPROCESSING["mean"]), np.array(PREPROCESSING["std"])
    x = (pixels / 255.0 - mean) / std
    cells = SIZE // PATCH
    patches = x.reshape(len(x), cells, PATCH, cells, PATCH, 3)
    maps = np.einsum("nyixjc,kcij->nkyx", patches, w["kernel"]) + w["kernel_bias"][:, None, None]
    maps = np.clip(maps, 0, 6)
    embedding = maps.mean(axis=(2, 3))
    logits = embedding @ w["head"].T + w["head_bias"]
    exponentials = np.exp(logits / TEMPERATURE)
    return {
        "logits": logits,
        "probabilities": exponentials / exponentials.sum(axis=1, keepdims=True),
        "embedding": embedding,
        "cam": np.einsum("nkyx,ck->ncyx", maps, w["head"]),
    }


def equal_shares(pixels: NDArray[np.uint8], seed: int = 0) -> NDArray[np.float64]:
    """Return the probabilities (N, C) of equally frequent classes: by Bayes' theorem in its odds form."""
    odds = forward(pixels, seed)["probabilities"] / np.array([REFERENCE[name] for name in CLASSES])
    return odds / odds.sum(axis=1, keepdims=True)


def model_bytes(
    seed: int = 0, temperature: float = TEMPERATURE, preprocessing: object = PREPROCESSING, batch: object = "batch"
) -> bytes:
    """Build the ONNX file of the patch network."""
    w = weights(seed)
    arrays = {
        **w,
        "head_1x1": w["head"][:, :, None, None],
        "rows_and_columns": np.array([2, 3]),
        "low": np.float32(0),
        "high": np.float32(6),
        "inverse_temperature": np.float32(1 / temperature),
    }
    nodes = [
        helper.make_node("Conv", ["input", "kernel", "kernel_bias"], ["conv"], strides=[PATCH, PATCH]),
        helper.make_node("Clip", ["conv", "low", "high"], ["maps"]),
        helper.make_node("ReduceMean", ["maps", "rows_and_columns"], ["embedding"], keepdims=0),
        helper.make_node("Gemm", ["embedding", "head", "head_bias"], ["logits"], transB=1),
        helper.make_node("Mul", ["logits", "inverse_temperature"], ["scaled"]),
        helper.make_node("Softmax", ["scaled"], ["probabilities"], axis=1),
        helper.make_node("Conv", ["maps", "head_1x1"], ["cam"]),
    ]
    shapes = {name: [batch, *shape] for name, shape in outputs().items()}
    graph = helper.make_graph(
        nodes,
        "patches",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [batch, 3, SIZE, SIZE])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    said = {"preprocessing": preprocessing, "classes": CLASSES}
    helper.set_model_props(model, {f"sonoforge.{key}": json.dumps(value) for key, value in said.items()})
    onnx.checker.check_model(model)
    return model.SerializeToString()


def outputs() -> dict[str, list[int]]:
    """Return the shapes of the outputs without the batch."""
    n, cells = len(CLASSES), SIZE // PATCH
    return {"logits": [n], "probabilities": [n], "embedding": [FEATURES], "cam": [n, cells, cells]}


def scan(seed: int, width: int = 120, height: int = 90) -> NDArray[np.uint8]:
    """Return a grey picture (H, W) uint8 with soft structure and speckle, in the range of a scan."""
    rng = np.random.default_rng([7, seed])
    coarse = Image.fromarray(rng.uniform(20, 200, (6, 6)).astype(np.float32))
    tissue = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))
    speckle = rng.rayleigh(0.8, (height, width))
    return np.clip(tissue * speckle, 0, 255).astype(np.uint8)


def npz(**arrays: NDArray[Any]) -> bytes:
    """Return the arrays as the bytes of an .npz file."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def reference(embeddings: NDArray[np.float64]) -> tuple[bytes, dict[str, object]]:
    """Fit the trust reference to (N, D) embeddings; return reference.npz and the manifest's ``trust``."""
    arrays, record = checks(embeddings)
    mean = embeddings.mean(axis=0)
    values, vectors = np.linalg.eigh(np.cov(embeddings.T) + 1e-4 * np.eye(embeddings.shape[1]))
    components = vectors / np.sqrt(values)
    distances = np.linalg.norm((embeddings - mean) @ components, axis=1)
    trust: dict[str, object] = {
        "method": "ppca-mahalanobis",
        "median": float(np.median(distances)),
        "threshold": float(np.quantile(distances, 0.95)),
        "checks": record,
    }
    data = npz(
        trust_mean=mean.astype(np.float32),
        trust_components=components.astype(np.float32),
        trust_residual=np.ones(1, np.float32),
        **arrays,
    )
    return data, trust


def checks(embeddings: NDArray[np.float64]) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Return what a bundle records beside the distance: arrays of reference.npz, and ``trust.checks``."""
    units = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    mean = units.mean(axis=0)
    axes = np.linalg.svd(units - mean, full_matrices=False)[2][:8].T
    arrays = {
        "neighbour_mean": mean.astype(np.float32),
        "neighbour_axes": axes.astype(np.float16),
        "neighbour_points": ((units - mean) @ axes).astype(np.float16),
    }
    apart = np.linalg.norm(units[:, None] - units[None], axis=2)
    nearest = np.sort(apart, axis=1)[:, 1:11].mean(axis=1)
    record = {
        "kind": "breast ultrasound",
        "neighbours": {"median": float(np.median(nearest)), "threshold": float(1.5 * nearest.max())},
        "foreign": 1e4,
        "upright": [(3.5 - band) / 100 for band in range(8)],
        "contact": 0.5,
        "policy": {"always": False, "error": 0.05, "least_probability": 0.5},
        "source": "scans for tests",
        "white": 0.5,
        "grain": None,
        "colour": 1.0,
    }
    return arrays, record


def write_bundle(folder: Path, seed: int = 0, *, model: bytes | None = None) -> Path:
    """Write a whole valid bundle with the patch network; return its folder."""
    from sonoforge.runtime.images import quality_metrics as image_quality

    pixels = np.stack([_prepared(scan(i)) for i in range(48)])
    expected = forward(pixels, seed)
    reference_file, trust = reference(expected["embedding"])
    measured = [image_quality.measure(image, 120, 90) for image in pixels]
    limits = {
        name: dict(zip(("low", "high"), np.quantile([m[name] for m in measured], (0, 1)).tolist(), strict=True))
        for name in image_quality.METRICS
    }
    golden = {name: value[:4].astype(np.float32) for name, value in expected.items()}
    files = {
        "model.onnx": model or model_bytes(seed),
        "reference.npz": reference_file,
        "golden.npz": npz(pixels=pixels[:4], **golden),
        "MODEL_CARD.md": b"# A model for tests\n",
    }
    manifest: dict[str, Any] = {
        "format_version": 1,
        "task": "classification",
        "name": "patches",
        "version": "0.0.1",
        "created": "2024-01-01T00:00:00Z",
        "classes": list(CLASSES),
        "preprocessing": PREPROCESSING,
        "outputs": outputs(),
        "calibration": {"temperature": TEMPERATURE, "protocol": "none"},
        "decision": DECISION,
        "conformal": {"alpha": 0.1, "thresholds": dict.fromkeys(CLASSES, 0.2), "measured_coverage": {}},
        "trust": trust,
        "quality": {**limits, "scan": {"count": 48, "bands": {}}},
        "training": {},
        "evaluation": {},
        "parity": {},
        "provenance": {},
        "intended_use": "Tests only.",
        "files": {},
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
        manifest["files"][name] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    manifest["files"]["model.onnx"] |= {"precision": "fp32", "format": "onnx"}
    (folder / "manifest.json").write_text(json.dumps(with_digest(manifest), indent=2), encoding="utf-8")
    return folder


def edit_manifest(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Change a bundle's manifest in place, and state its new digest, as an attacker would."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    edit(manifest)
    path.write_text(json.dumps(with_digest(manifest)), encoding="utf-8")


def add_file(folder: Path, name: str, data: bytes, kind: str = "", precision: str = "fp32") -> None:
    """Add a file of a format to a bundle; without ``kind``, one of none."""
    entry: dict[str, Any] = {"precision": precision, "format": kind} if kind else {}
    edit_manifest(folder, lambda manifest: manifest["files"].update({name: entry}))
    replace_file(folder, name, data)


def replace_file(folder: Path, name: str, data: bytes) -> None:
    """Replace one file of a bundle and state its new size and hash, as an attacker would."""
    (folder / name).write_bytes(data)

    def edit(manifest: dict[str, Any]) -> None:
        manifest["files"][name].update(sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))

    edit_manifest(folder, edit)


def zip_bundle(folder: Path, target: Path, prefix: str = "") -> Path:
    """Write a bundle's folder as .zip."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for item in sorted(folder.iterdir()):
            archive.write(item, prefix + item.name)
    return target


def write_scans(folder: Path, seeds: Iterable[int] = range(3)) -> Path:
    """Write a scan for each seed, SEED.png, into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        Image.fromarray(scan(seed)).save(folder / f"{seed}.png")
    return folder


def _prepared(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    small = Image.fromarray(grey).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    return np.repeat(np.asarray(small)[:, :, None], 3, axis=2)
