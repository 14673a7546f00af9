"""The manifest of a classifier's bundle: the keys that its task adds.

The records of how the model was made (``training``, ``evaluation``, ``parity``, ``provenance``) carry no meaning for
the answer and may hold anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.bundle.manifest import (
    ArrayKind,
    Manifest,
    ManifestError,
    exact_keys,
    mapping,
    number,
    positive,
    read_classes,
    read_files,
)
from sonoforge.runtime.bundle.trust_limits import TailLimits, TrustChecks, read_checks, read_distance
from sonoforge.runtime.images.preprocessing import Preprocessing
from sonoforge.runtime.images.quality_metrics import METRICS
from sonoforge.runtime.images.quality_table import SCAN

OUTPUTS = ("logits", "probabilities", "embedding", "cam")
"""Outputs of a model file, in order."""


class Limits(NamedTuple):
    """Low and high reference percentile of one quality metric."""

    low: float
    high: float


class ScanBands(NamedTuple):
    """5th and 95th percentile of the metrics of `quality_table.SCAN` over so many training ``images``."""

    images: int
    limits: dict[str, Limits]


@dataclass(frozen=True)
class ClassifierManifest(Manifest):
    """The manifest of a classifier.

    Attributes:
        preprocessing: How an image becomes the network's input.
        outputs: Name of each output and its shape without the batch.
        temperature: Calibration temperature, inside the ONNX ``probabilities``; above 0.
        alpha: Error rate of the conformal sets, for each class; between 0 and 1.
        thresholds: Probability from which a class belongs to the set.
        trust: Of the Mahalanobis distance from the training images.
        checks: What else an answer is judged by; None in a bundle of an earlier version.
        quality: Reference range of each image-quality metric of the network's view.
        scan_bands: Reference bands of the metrics in the scan's own pixels; empty for a bundle without.
    """

    preprocessing: Preprocessing
    outputs: dict[str, tuple[int, ...]]
    temperature: float
    alpha: float
    thresholds: dict[str, float]
    trust: TailLimits
    checks: TrustChecks | None
    quality: dict[str, Limits]
    scan_bands: ScanBands

    task: ClassVar[str] = "classification"
    owner: ClassVar[str] = "a classifier"
    used_by: ClassVar[str] = "sonoforge classify --bundle"
    model: ClassVar[str] = "model.onnx"
    required: ClassVar[tuple[str, ...]] = ("model.onnx", "reference.npz", "golden.npz", "MODEL_CARD.md")
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "fp16", "int8")
    keys: ClassVar[tuple[str, ...]] = (
        *("preprocessing", "calibration", "conformal", "trust", "quality"),
        *("training", "evaluation", "parity", "provenance"),
    )

    @classmethod
    def parse(cls, raw: dict[str, Any]) -> ClassifierManifest:
        """Check the values; see `Manifest.parse`."""
        for key in ("training", "evaluation", "parity", "provenance"):
            mapping(key, raw[key])
        classes = read_classes(raw["classes"], 2)
        calibration, conformal = mapping("calibration", raw["calibration"]), mapping("conformal", raw["conformal"])
        alpha = number("conformal.alpha", conformal.get("alpha"))
        if not 0 < alpha < 1:
            raise ManifestError(f"conformal.alpha: found {alpha}, expected a number between 0 and 1")
        return cls(
            name=raw["name"],
            version=raw["version"],
            classes=classes,
            files=read_files(raw["files"], cls),
            raw=raw,
            preprocessing=Preprocessing.from_dict(raw["preprocessing"]),
            outputs=_outputs(raw["outputs"], len(classes)),
            temperature=positive("calibration.temperature", calibration.get("temperature")),
            alpha=alpha,
            thresholds=_thresholds(conformal.get("thresholds"), classes),
            trust=read_distance(raw["trust"]),
            checks=read_checks(raw["trust"]),
            quality=_quality(raw["quality"]),
            scan_bands=_scan_bands(raw["quality"]),
        )

    @property
    def golden_arrays(self) -> dict[str, ArrayKind]:
        """``pixels`` (N, S, S, 3) uint8 and each output (N, ...) float32."""
        side = self.preprocessing.size
        outputs = {name: ArrayKind(np.float32, ("N", *shape)) for name, shape in self.outputs.items()}
        return {"pixels": ArrayKind(np.uint8, ("N", side, side, 3)), **outputs}

    def golden_problem(self, arrays: Mapping[str, NDArray[Any]]) -> str:
        """Refuse so many images that answering them together fills the memory."""
        count = len(arrays["pixels"])
        return f"found {count} images, expected {_MOST_GOLDEN} at most" if count > _MOST_GOLDEN else ""


# Our exports record six; each is answered at once with the others.
_MOST_GOLDEN = 32


def _outputs(value: Any, count: int) -> dict[str, tuple[int, ...]]:
    outputs = mapping("outputs", value)
    exact_keys("outputs", outputs, OUTPUTS)
    for name, shape in outputs.items():
        sizes, rank = shape if isinstance(shape, list) else [], 3 if name == "cam" else 1
        if len(sizes) != rank or not all(type(size) is int and size > 0 for size in sizes):
            raise ManifestError(f"outputs.{name}: found {shape!r:.80}, expected {rank} whole numbers above 0")
        if name != "embedding" and sizes[0] != count:
            raise ManifestError(f"outputs.{name}: found {sizes[0]} classes, expected {count}")
    return {name: tuple(shape) for name, shape in outputs.items()}


def _thresholds(value: Any, classes: tuple[str, ...]) -> dict[str, float]:
    thresholds = mapping("conformal.thresholds", value)
    exact_keys("conformal.thresholds", thresholds, classes)
    numbers = {name: number(f"conformal.thresholds.{name}", thresholds[name]) for name in classes}
    for name, found in numbers.items():
        if not 0 <= found <= 1:
            raise ManifestError(f"conformal.thresholds.{name}: found {found}, expected a probability")
    return numbers


def _quality(value: Any) -> dict[str, Limits]:
    quality = mapping("quality", value)
    exact_keys("quality", {name: value for name, value in quality.items() if name != "scan"}, tuple(METRICS))
    return {name: _limits(f"quality.{name}", quality[name]) for name in METRICS}


def _scan_bands(quality: Mapping[str, Any]) -> ScanBands:
    """Read ``quality.scan``: older bundles have none, later ones may have more metrics."""
    scan = mapping("quality.scan", quality.get("scan", {"count": 0, "bands": {}}))
    exact_keys("quality.scan", scan, ("count", "bands"))
    count, bands = number("quality.scan.count", scan["count"]), mapping("quality.scan.bands", scan["bands"])
    if count < 0 or count != int(count):
        raise ManifestError(f"quality.scan.count: found {count}, expected a whole number")
    return ScanBands(
        int(count), {name: _limits(f"quality.scan.bands.{name}", bands[name]) for name in SCAN if name in bands}
    )


def _limits(name: str, value: Any) -> Limits:
    entry = mapping(name, value)
    exact_keys(name, entry, ("low", "high"))
    limits = Limits(low=number(f"{name}.low", entry["low"]), high=number(f"{name}.high", entry["high"]))
    if limits.low > limits.high:
        raise ManifestError(f"{name}: found low {limits.low} above high {limits.high}")
    return limits
