"""The ``manifest.json`` of a bundle, format version 1: read into types, or refused in one line.

A reader that guesses is worse than one that stops: a key it does not know, a class without a threshold or a
number out of range is refused.  The records of how the model was made (``training``, ``evaluation``, ``parity``,
``provenance``) carry no meaning for the answer and may hold anything.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.preprocessing import Preprocessing
from sonoforge.runtime.images.quality_metrics import METRICS

FORMAT_VERSION = 1
REQUIRED_FILES = ("model.onnx", "reference.npz", "golden.npz", "MODEL_CARD.md")
MAX_FILE_BYTES = 256_000_000
PRECISIONS = ("fp32", "fp16", "int8")

_KEYS = (
    *("format_version", "task", "name", "version", "created", "classes", "preprocessing", "outputs", "files"),
    *("calibration", "conformal", "trust", "quality", "training", "evaluation", "parity", "intended_use"),
)
_RECORDS = ("provenance",)  # may be left out: bundles of version 0.1.0 have none
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_FORMAT = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class ManifestError(SonoforgeError):
    """The manifest does not describe a bundle that this version can read."""


class FileEntry(NamedTuple):
    """One file of a bundle.

    Attributes:
        sha256: In hex.
        bytes: Its size.
        precision: Of a model: ``fp32``, ``fp16`` or ``int8``.
        format: Of a model: its row in the table of formats, such as ``onnx-int8``; empty for other files.
    """

    sha256: str
    bytes: int
    precision: str
    format: str


class TrustLimits(NamedTuple):
    """Median and 95th percentile of the Mahalanobis distance of held-out reference images."""

    median: float
    threshold: float


class Limits(NamedTuple):
    """Low and high reference percentile of one quality metric."""

    low: float
    high: float


@dataclass(frozen=True)
class Manifest:
    """What a reader needs of ``manifest.json``; ``raw`` is the whole document.

    Attributes:
        name: Name of the model.
        version: Its version.
        classes: Class names, in the order of the outputs.
        preprocessing: How an image becomes the network's input.
        outputs: Name of each output and its shape without the batch.
        files: Every file of the bundle but the manifest.
        temperature: Calibration temperature, inside the ONNX ``probabilities``; above 0.
        alpha: Error rate of the conformal sets, for each class; between 0 and 1.
        thresholds: Probability from which a class belongs to the set.
        trust: Distances that tell known from unknown images.
        quality: Reference range of each image-quality metric.
        raw: The document as read.
    """

    name: str
    version: str
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    outputs: dict[str, tuple[int, ...]]
    files: dict[str, FileEntry]
    temperature: float
    alpha: float
    thresholds: dict[str, float]
    trust: TrustLimits
    quality: dict[str, Limits]
    raw: dict[str, Any]


def parse_manifest(data: bytes) -> Manifest:
    """Read and check a manifest.

    Args:
        data: The content of ``manifest.json``.

    Raises:
        SonoforgeError: One line: which key, what was found, what was expected.
    """
    raw = _load_json(data)
    version = raw.get("format_version")
    if type(version) is not int or version != FORMAT_VERSION:  # True == 1
        raise ManifestError(f"format_version: found {version!r}, expected {FORMAT_VERSION}; update sonoforge")
    _exact_keys("manifest", {key: value for key, value in raw.items() if key not in _RECORDS}, _KEYS)
    if raw["task"] != "classification":
        raise ManifestError(f"task: found {raw['task']!r}, expected 'classification'")
    for key in ("name", "version", "created", "intended_use"):
        if not _printable(raw[key]):
            raise ManifestError(f"{key}: found {raw[key]!r:.120}, expected one line of printable text")
    for key in ("training", "evaluation", "parity", *_RECORDS):
        _mapping(key, raw.get(key, {}))
    classes = _classes(raw["classes"])
    calibration, conformal = _mapping("calibration", raw["calibration"]), _mapping("conformal", raw["conformal"])
    alpha = _number("conformal.alpha", conformal.get("alpha"))
    if not 0 < alpha < 1:
        raise ManifestError(f"conformal.alpha: found {alpha}, expected a number between 0 and 1")
    return Manifest(
        name=raw["name"],
        version=raw["version"],
        classes=classes,
        preprocessing=Preprocessing.from_dict(raw["preprocessing"]),
        outputs=_outputs(raw["outputs"], len(classes)),
        files=_files(raw["files"]),
        temperature=_positive("calibration.temperature", calibration.get("temperature")),
        alpha=alpha,
        thresholds=_thresholds(conformal.get("thresholds"), classes),
        trust=_trust(raw["trust"]),
        quality=_quality(raw["quality"]),
        raw=raw,
    )


def _load_json(data: bytes) -> dict[str, Any]:
    def refuse_constant(name: str) -> Any:
        raise ManifestError(f"found {name}, which is not JSON")

    def refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            raise ManifestError(f"a key is given twice among {', '.join(repr(key) for key, _ in pairs):.200}")
        return result

    try:
        raw = json.loads(data.decode("utf-8"), object_pairs_hook=refuse_duplicates, parse_constant=refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"not valid JSON ({error})") from error
    return _mapping("manifest", raw)


def _printable(value: Any) -> bool:
    """Whether a text can be printed: none of its characters moves the cursor or turns the terminal's text round."""
    return isinstance(value, str) and value != "" and value.isprintable()


def _mapping(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ManifestError(f"{name}: found {value!r:.80}, expected an object")
    return value


def _exact_keys(name: str, value: Mapping[str, Any], expected: Sequence[str]) -> None:
    missing = [key for key in expected if key not in value]
    unknown = [key for key in value if key not in expected]
    if missing:
        raise ManifestError(f"{name}: {', '.join(missing)} is missing")
    if unknown:
        raise ManifestError(f"{name}: unknown key {', '.join(map(repr, unknown))}; update sonoforge")


def _number(name: str, value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ManifestError(f"{name}: found {value!r:.80}, expected a number")
    return float(value)


def _positive(name: str, value: Any) -> float:
    number = _number(name, value)
    if number <= 0:
        raise ManifestError(f"{name}: found {number}, expected a number above 0")
    return number


def _classes(value: Any) -> tuple[str, ...]:
    valid = isinstance(value, list) and all(map(_printable, value))
    if not valid or not 2 <= len(value) == len(set(value)):
        raise ManifestError(f"classes: found {value!r:.80}, expected two or more different printable names")
    return tuple(value)


def _outputs(value: Any, count: int) -> dict[str, tuple[int, ...]]:
    outputs = _mapping("outputs", value)
    _exact_keys("outputs", outputs, ("logits", "probabilities", "embedding", "cam"))
    ranks = {"logits": 1, "probabilities": 1, "embedding": 1, "cam": 3}
    for name, shape in outputs.items():
        sizes = shape if isinstance(shape, list) else []
        if len(sizes) != ranks[name] or not all(type(size) is int and size > 0 for size in sizes):
            raise ManifestError(f"outputs.{name}: found {shape!r:.80}, expected {ranks[name]} whole numbers above 0")
        if name != "embedding" and sizes[0] != count:
            raise ManifestError(f"outputs.{name}: found {sizes[0]} classes, expected {count}")
    return {name: tuple(shape) for name, shape in outputs.items()}


def _files(value: Any) -> dict[str, FileEntry]:
    files = _mapping("files", value)
    missing = [name for name in REQUIRED_FILES if name not in files]
    if missing:
        raise ManifestError(f"files: {', '.join(missing)} is missing")
    result: dict[str, FileEntry] = {}
    for name, raw in files.items():
        # Plain names only: no folder, no drive, no way out of the bundle.
        if not _FILE_NAME.fullmatch(name) or name == "manifest.json":
            raise ManifestError(f"files: found the name {name!r:.120}, expected a plain file name")
        entry = _mapping(f"files.{name}", raw)
        if not {"sha256", "bytes"} <= set(entry) <= {"sha256", "bytes", "precision", "format"}:
            raise ManifestError(
                f"files.{name}: found {', '.join(map(repr, entry)):.200}, expected sha256, bytes (precision, format)"
            )
        digest, size, precision = entry["sha256"], entry["bytes"], entry.get("precision", "fp32")
        form = entry.get("format", "onnx" if name == "model.onnx" else "")
        if not isinstance(digest, str) or not _SHA256.fullmatch(digest):
            raise ManifestError(f"files.{name}.sha256: found {digest!r:.80}, expected 64 lower-case hex digits")
        if type(size) is not int or not 0 < size <= MAX_FILE_BYTES:
            raise ManifestError(f"files.{name}.bytes: found {size!r:.80}, expected 1 to {MAX_FILE_BYTES}")
        expected = ("fp32",) if name == "model.onnx" else PRECISIONS
        if precision not in expected:
            raise ManifestError(f"files.{name}.precision: found {precision!r:.80}, expected {' or '.join(expected)}")
        if not isinstance(form, str) or (form and not _FORMAT.fullmatch(form)):
            raise ManifestError(f"files.{name}.format: found {form!r:.80}, expected a name such as onnx-int8")
        if form and form in {entry.format for entry in result.values()}:
            raise ManifestError(f"files.{name}.format: found {form} a second time, expected one file of each format")
        result[name] = FileEntry(digest, size, precision, form)
    return result


def _thresholds(value: Any, classes: tuple[str, ...]) -> dict[str, float]:
    thresholds = _mapping("conformal.thresholds", value)
    _exact_keys("conformal.thresholds", thresholds, classes)
    numbers = {name: _number(f"conformal.thresholds.{name}", thresholds[name]) for name in classes}
    for name, number in numbers.items():
        if not 0 <= number <= 1:
            raise ManifestError(f"conformal.thresholds.{name}: found {number}, expected a probability")
    return numbers


def _trust(value: Any) -> TrustLimits:
    trust = _mapping("trust", value)
    if trust.get("method") != "ppca-mahalanobis":
        raise ManifestError(f"trust.method: found {trust.get('method')!r:.80}, expected 'ppca-mahalanobis'")
    limits = TrustLimits(
        median=_positive("trust.median", trust.get("median")),
        threshold=_positive("trust.threshold", trust.get("threshold")),
    )
    if limits.median >= limits.threshold:
        raise ManifestError(f"trust: found median {limits.median}, expected less than threshold {limits.threshold}")
    return limits


def _quality(value: Any) -> dict[str, Limits]:
    quality = _mapping("quality", value)
    _exact_keys("quality", quality, tuple(METRICS))
    result = {}
    for name in METRICS:
        entry = _mapping(f"quality.{name}", quality[name])
        _exact_keys(f"quality.{name}", entry, ("low", "high"))
        limits = Limits(*(_number(f"quality.{name}.{side}", entry[side]) for side in ("low", "high")))
        if limits.low > limits.high:
            raise ManifestError(f"quality.{name}: found low {limits.low} above high {limits.high}")
        result[name] = limits
    return result
