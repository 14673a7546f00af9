"""Define the manifest keys that a classifier's bundle adds.

The records of how the model was made (``training``, ``evaluation``, ``parity``, ``provenance``) do not affect answers
and may hold anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.bundle.manifest import (
    ArrayKind,
    Manifest,
    ManifestError,
    Readers,
    boolean,
    digest,
    exact_keys,
    fields,
    mapping,
    number,
    one_of,
    positive,
    read_classes,
    read_files,
    share,
    text,
    whole,
    wrong,
)
from sonoforge.runtime.images.preprocessing import CROPS, FILTERS, Preprocessing
from sonoforge.runtime.images.quality_metrics import METRICS, SCAN, Band
from sonoforge.runtime.images.scan_checks import ROWS

OUTPUTS = ("logits", "probabilities", "embedding", "cam")
"""Outputs of a model file, in order."""


class TailLimits(NamedTuple):
    """Median and 95th percentile of a distance over held-out images."""

    median: float
    threshold: float


class Policy(NamedTuple):
    """When to abstain."""

    always: bool  # whether the bundle abstains unasked
    error: float  # error rate, among the held-out scans that kept their label, for which the next value was set
    least_probability: float  # of the most probable class, for the label to be kept


BREAST_ULTRASOUND, OTHER = "breast ultrasound", "other"
KINDS = (BREAST_ULTRASOUND, OTHER)
"""Kinds of training images. Burned-in marks, repeats and anything but one plain scan are only checked for the first."""


class TrustChecks(NamedTuple):
    """What trust checks besides the Mahalanobis distance from the training images."""

    kind: str  # row of `KINDS`
    neighbours: TailLimits  # of the mean distance to the nearest training images
    foreign: float  # Mahalanobis distance beyond which an image is called no ultrasound scan
    # (`ROWS`,) weights of the profile of detail, see `scan_checks.upright_score`; all 0 where the training images
    # have no top, so that none is called upside down.
    upright: tuple[float, ...]
    contact: float  # largest share of dark columns, see `scan_checks.dark_columns`
    policy: Policy
    source: str  # the images on which all of these were set, in words
    white: float  # largest share of pixels at the white end, ``saturated`` of `quality_metrics.measure`
    # `scan_checks.flatness` of the grain below which an image beyond the distance's threshold is called no ultrasound
    # scan; None where the training images have no flat grain.
    grain: float | None
    colour: float  # `scan_checks.coloured_share` beyond which an image is called no ultrasound scan


class OperatingPoint(NamedTuple):
    """The score from which a question is answered yes."""

    aim: float  # sensitivity for which it was chosen
    # Of the score: the probability of the positive classes among those that the question is about, with all classes
    # equally frequent.
    threshold: float
    sensitivity: float  # measured on held-out images, with thresholds chosen on others
    specificity: float  # measured likewise


class Question(NamedTuple):
    """A question behind the label, such as whether there is a lesion."""

    name: str  # of what is looked for
    positive: tuple[str, ...]  # classes for which the answer is yes
    among: tuple[str, ...]  # classes that it is about: whether a lesion is malignant is not asked of normal scans
    points: tuple[OperatingPoint, ...]  # the least sensitive first


FARTHEST = 1.5
"""Largest reach of a site: beyond it, foreign pictures outnumber a clinic's scans."""


class Site(NamedTuple):
    """The clinic to which ``sonoforge adapt`` adapted a bundle."""

    prevalence: dict[str, float]  # share of each class there, assumed by default; sum to 1
    scans: dict[str, int]  # labelled scans by class
    groups: int  # patients, or other groups, of these scans
    moved: tuple[str, ...]  # questions whose operating points were moved, and measured, on these scans
    golden: tuple[str, ...]  # the bundle's label of each golden image
    reach: float  # distance of its scans, in multiples of the training's limits of trust, 1..`FARTHEST`


class ScanBands(NamedTuple):
    """Reference bands of the metrics of `quality_metrics.SCAN`: 5th and 95th percentile over the training images.

    Metrics without a value for any training image are left out.
    """

    images: int
    limits: dict[str, Band]


@dataclass(frozen=True)
class ClassifierManifest(Manifest):
    """The manifest of a classifier."""

    preprocessing: Preprocessing  # how an image becomes the network's input
    outputs: dict[str, tuple[int, ...]]  # name of each output and its shape without the batch
    temperature: float  # calibration temperature, inside the ONNX ``probabilities``; above 0
    reference: dict[str, float]  # class shares that the ONNX ``probabilities`` assume; sum to 1
    default: dict[str, float]  # class shares that answers assume unless a clinic gives its own; sum to 1
    questions: tuple[Question, ...]  # asked behind the label; none where the classes are of another kind
    alpha: float  # error rate of the conformal sets, for each class; between 0 and 1
    # Probability from which a class belongs to the set: of equally frequent classes, or at the shares of `site`.
    thresholds: dict[str, float]
    trust: TailLimits  # of the Mahalanobis distance from the training images
    checks: TrustChecks
    quality: dict[str, Band]  # reference range of each image-quality metric of the network's view
    scan_bands: ScanBands  # reference bands of the metrics in the scan's own pixels
    site: Site | None = None

    task: ClassVar[str] = "classification"
    owner: ClassVar[str] = "a classifier"
    used_by: ClassVar[str] = "sonoforge classify --bundle"
    model: ClassVar[str] = "model.onnx"
    required: ClassVar[tuple[str, ...]] = ("model.onnx", "reference.npz", "golden.npz", "MODEL_CARD.md")
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "fp16", "int8")
    keys: ClassVar[tuple[str, ...]] = (
        *("preprocessing", "calibration", "decision", "conformal", "trust", "quality"),
        *("training", "evaluation", "parity", "provenance"),
    )
    optional: ClassVar[tuple[str, ...]] = ("site",)

    @classmethod
    def parse(cls, raw: dict[str, Any]) -> ClassifierManifest:
        """Check the values; see `Manifest.parse`."""
        for key in ("training", "evaluation", "parity", "provenance"):
            mapping(key, raw[key])
        classes = read_classes(raw["classes"], 2)
        calibration, conformal = mapping("calibration", raw["calibration"]), mapping("conformal", raw["conformal"])
        alpha = number("conformal.alpha", conformal.get("alpha"))
        if not 0 < alpha < 1:
            raise wrong("conformal.alpha", alpha, "a number between 0 and 1")
        trust, checks = read_trust(raw["trust"])
        quality = fields("quality", raw["quality"], {**_bands("quality", raw["quality"], METRICS), "scan": _SCAN})
        outputs = _outputs(raw["outputs"], len(classes))
        reference, default, questions = _decision(raw["decision"], classes)
        return cls(
            name=raw["name"],
            version=raw["version"],
            classes=classes,
            files=read_files(raw["files"], cls),
            raw=raw,
            preprocessing=read_preprocessing("preprocessing", raw["preprocessing"]),
            outputs=outputs,
            temperature=positive("calibration.temperature", calibration.get("temperature")),
            reference=reference,
            default=default,
            questions=questions,
            alpha=alpha,
            thresholds=fields("conformal.thresholds", conformal.get("thresholds"), dict.fromkeys(classes, share)),
            trust=trust,
            checks=checks,
            quality={name: band for name, band in quality.items() if name != "scan"},
            scan_bands=ScanBands(quality["scan"]["count"], quality["scan"]["bands"]),
            site=_site(raw["site"], classes, questions) if "site" in raw else None,
        )

    @property
    def guesses(self) -> bool:
        """Whether its own evaluation fails to show that it beats guessing."""
        found = self.raw["evaluation"].get("guessing")
        return isinstance(found, dict) and found.get("better") is False

    @property
    def golden_arrays(self) -> dict[str, ArrayKind]:
        """``pixels`` (N, S, S, 3) uint8 and each output (N, ...) float32."""
        side = self.preprocessing.size
        outputs = {name: ArrayKind(np.float32, ("N", *shape)) for name, shape in self.outputs.items()}
        return {"pixels": ArrayKind(np.uint8, ("N", side, side, 3)), **outputs}

    def golden_problem(self, arrays: Mapping[str, NDArray[Any]]) -> str:
        """Refuse more images than can be answered at once without filling the memory."""
        count = len(arrays["pixels"])
        return f"{count} images are more than {_MOST_GOLDEN}" if count > _MOST_GOLDEN else ""


_MOST_GOLDEN = 32  # exports record six
_MOST_IMAGES = 10**9
_LARGEST_NUMBER = 1e6  # of a list
_MOST_POINTS = 20
_ROUNDING = 1e-6
LABEL_COLUMNS = ("verdict", "label")
TRUST_COLUMNS = ("set", "trust_score", "in_distribution", "trust_reasons")
IMAGE_COLUMNS = (
    *(*METRICS, "quality_flags", "kind", "marks", "remarks", "dicom_region", "crop_box"),
    *("motion_per_frame", "motion_flags", "copy_of", "seems_copy_of", "series", "trained_on"),
)
"""Columns of ``classify --csv``; ``p_CLASS``, ``q_QUESTION``, ``yes_from_QUESTION``, ``QUESTION`` follow the label."""
_COLUMNS = {"file", "ok", *LABEL_COLUMNS, *TRUST_COLUMNS, *IMAGE_COLUMNS, "error_code", "error_message"}
_COLUMNS |= {"bytes", "modified_ns", "model_sha256", "settings"}


def _outputs(value: Any, count: int) -> dict[str, tuple[int, ...]]:
    outputs = mapping("outputs", value)
    exact_keys("outputs", outputs, OUTPUTS)
    for name, shape in outputs.items():
        sizes, rank = shape if isinstance(shape, list) else [], 3 if name == "cam" else 1
        if len(sizes) != rank or not all(type(size) is int and size > 0 for size in sizes):
            raise wrong(f"outputs.{name}", shape, f"{rank} whole numbers above 0")
        if name != "embedding" and sizes[0] != count:
            raise wrong(f"outputs.{name}", sizes[0], f"{count} classes")
    return {name: tuple(shape) for name, shape in outputs.items()}


def read_preprocessing(name: str, value: Any) -> Preprocessing:
    """Read the form that `Preprocessing.to_dict` writes."""
    found = Preprocessing(**fields(name, value, _PREPROCESSING))
    if min(found.std) <= 0:
        raise wrong(f"{name}.std", found.std, "numbers above zero")
    return found


def _decision(value: Any, classes: tuple[str, ...]) -> tuple[dict[str, float], dict[str, float], tuple[Question, ...]]:
    """Read ``decision``: the reference shares, the default shares and the questions."""
    found = mapping("decision", value)
    exact_keys("decision", found, ("reference", "default", "protocol", "questions"))
    reference, default = (_shares(f"decision.{name}", found[name], classes) for name in ("reference", "default"))
    listed = found["questions"]
    if not isinstance(listed, list) or len(listed) > len(classes):
        raise wrong("decision.questions", listed, f"at most {len(classes)} questions")
    questions = tuple(_question(f"decision.questions[{i}]", item, classes) for i, item in enumerate(listed))
    if len({tuple(point.aim for point in question.points) for question in questions}) > 1:
        raise ManifestError("decision.questions: all questions must have the same aims")
    if len({question.name for question in questions}) < len(questions):
        raise ManifestError("decision.questions: a name is given twice")
    return reference, default, questions


def _shares(name: str, value: Any, classes: tuple[str, ...]) -> dict[str, float]:
    found = fields(name, value, dict.fromkeys(classes, positive))
    total = sum(found.values())
    if abs(total - 1) > _ROUNDING:
        raise ManifestError(f"{name}: shares sum to {total:g}, not 1")
    return found


def _site(value: Any, classes: tuple[str, ...], questions: tuple[Question, ...]) -> Site:
    """Read ``site``; what is not in `Site` does not affect answers."""
    count = partial(whole, low=0, high=_MOST_IMAGES)
    readers: Readers = {
        "prevalence": partial(_shares, classes=classes),
        "scans": partial(fields, readers=dict.fromkeys(classes, count)),
        "groups": partial(whole, low=1, high=_MOST_IMAGES),
        "moved": partial(_names, known=tuple(question.name for question in questions)),
        "golden": partial(_names, known=classes, once=False),
        "golden_before": partial(_names, known=classes, once=False),
        "reach": number,
        **dict.fromkeys(("trust", "original", "figures"), mapping),
        "created": text,
        "manifest_sha256": digest,
        **({"trained_on": count} if "trained_on" in mapping("site", value) else {}),
    }
    found = fields("site", value, readers)
    if not 1 <= found["reach"] <= FARTHEST:
        raise wrong("site.reach", found["reach"], f"a number from 1 to {FARTHEST}")
    return Site(*(found[name] for name in Site._fields))


def _names(name: str, value: Any, known: tuple[str, ...] = (), once: bool = True) -> tuple[str, ...]:
    """Return a list of names; they must be known ones if ``known`` is given."""
    listed = isinstance(value, list) and all(item in known if known else isinstance(item, str) for item in value)
    if not listed or (once and len(set(value)) < len(value)):
        raise wrong(name, value, f"a list of {', '.join(known) or 'names'}{', each once' * once}")
    return tuple(text(name, item) for item in value)


def _question(name: str, value: Any, classes: tuple[str, ...]) -> Question:
    question = Question(**fields(name, value, {"name": text, "positive": _names, "among": _names, "points": _points}))
    if question.name in _COLUMNS or question.name.startswith(("p_", "q_", "yes_from_")):
        raise ManifestError(f"{name}.name: {question.name!r} is a column of classify --csv; choose another name")
    if not question.positive or not set(question.positive) < set(question.among) <= set(classes):
        raise ManifestError(
            f"{name}: {question.positive!r:.80} must be a part of {question.among!r:.80}, and that of {classes!r:.80}"
        )
    return question


def _points(name: str, value: Any) -> tuple[OperatingPoint, ...]:
    if not isinstance(value, list) or not 0 < len(value) <= _MOST_POINTS:
        raise wrong(name, value, f"1 to {_MOST_POINTS} operating points")
    points = tuple(OperatingPoint(**fields(name, item, dict.fromkeys(OperatingPoint._fields, share))) for item in value)
    if [point.aim for point in points] != sorted({point.aim for point in points}):
        raise ManifestError(f"{name}: aims must rise, the least sensitive first")
    return points


def read_trust(value: Any) -> tuple[TailLimits, TrustChecks]:
    """Read ``trust``: the limits of the Mahalanobis distance, and the other checks."""
    trust = fields("trust", value, _TRUST)
    distance, checks = _ordered("trust", trust["median"], trust["threshold"]), TrustChecks(**trust["checks"])
    if checks.foreign < distance.threshold:
        raise wrong("trust.checks.foreign", checks.foreign, f"trust.threshold {distance.threshold} or more")
    return distance, checks


def _ordered(name: str, median: float, threshold: float) -> TailLimits:
    if median >= threshold:
        raise ManifestError(f"{name}: median {median} must be less than threshold {threshold}")
    return TailLimits(median, threshold)


def _numbers(name: str, value: Any, count: int) -> tuple[float, ...]:
    if not isinstance(value, list) or len(value) != count:
        raise wrong(name, value, f"{count} numbers")
    numbers = tuple(number(name, item) for item in value)
    if max(map(abs, numbers)) > _LARGEST_NUMBER:
        raise wrong(name, value, f"within {_LARGEST_NUMBER:g}")
    return numbers


def _band(name: str, value: Any) -> Band:
    band = Band(**fields(name, value, {"low": number, "high": number}))
    if band.low > band.high:
        raise ManifestError(f"{name}: low {band.low} is above high {band.high}")
    return band


_POLICY: Readers = {"always": boolean, "error": share, "least_probability": share}
_PREPROCESSING: Readers = {
    "size": partial(whole, low=16, high=4096),
    "resample": partial(one_of, expected=tuple(FILTERS)),
    "mean": partial(_numbers, count=3),
    "std": partial(_numbers, count=3),
    "crop": partial(one_of, expected=CROPS),
}
_CHECKS: Readers = {
    "kind": partial(one_of, expected=KINDS),
    "neighbours": lambda name, value: _ordered(
        name, **fields(name, value, {"median": positive, "threshold": positive})
    ),
    "foreign": positive,
    "upright": partial(_numbers, count=ROWS),
    "contact": share,
    "policy": lambda name, value: Policy(**fields(name, value, _POLICY)),
    "source": text,
    "white": share,
    "grain": lambda name, value: None if value is None else positive(name, value),
    "colour": share,
}
_TRUST: Readers = {
    "method": partial(one_of, expected=("ppca-mahalanobis",)),
    "median": positive,
    "threshold": positive,
    "checks": partial(fields, readers=_CHECKS),
}


def _bands(name: str, value: Any, metrics: Iterable[str]) -> Readers:
    """Return the readers of the metrics that a manifest has bands for: older bundles have fewer."""
    return {metric: _band for metric in metrics if metric in mapping(name, value)}


_SCAN_BANDS: Readers = {
    "count": partial(whole, low=1, high=_MOST_IMAGES),
    "bands": lambda name, value: fields(name, value, _bands(name, value, SCAN)),
}
_SCAN = partial(fields, readers=_SCAN_BANDS)
