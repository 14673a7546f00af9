"""The gate of every exported file: does it answer as the trained network does, on a hundred images and more?

Probabilities are compared, and what they lead to: labels, and the sensitivity and specificity of each class.  The
final network was trained on the very images of its data set, so its own sensitivity on them says little.  Where the
run was cross-validated, the file's change of the logits is therefore added to the sealed logits of the same images, and
sensitivity and specificity are those of the sealed predictions with and without that change.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.errors import GateError

if TYPE_CHECKING:
    from sonoforge.export.gate.images import GateImages

Answers = Mapping[str, NDArray[np.float32]]


class FormatRow(TypedDict, total=False):
    """What the manifest, the card and the screen tell of one format of a bundle, and how its file did in the gate.

    The first four keys and ``status`` are always there; what could not be measured is left out.
    """

    format: str
    file: str
    precision: str
    runs_on: str
    status: str  # passed, failed, not checked (nothing on this machine runs it) or not written
    reason: str
    bytes: int
    made_with: dict[str, str]
    # Classifiers: the fields of `Tolerance`; generators: the largest difference allowed.
    tolerance: dict[str, float] | float
    max_abs: float  # largest difference: of a probability; of an image, in [-1, 1]
    # Classifiers alone, see `compare`.
    calibration: dict[str, int]
    images: str
    count: int
    distinct: int  # images without their variants
    mean_abs: float
    max_relative: dict[str, float]
    max_abs_logits: float
    labels_equal: int
    worst: str
    sensitivity_change: dict[str, float]
    specificity_change: dict[str, float]
    judged_on: str


ManifestJson = dict[str, Any]
"""A manifest that is being written: open JSON, which the runtime's reader checks in the end."""


class Tolerance(NamedTuple):
    """How far a file may be from the network."""

    probability: float  # largest absolute difference of any probability of any image
    relative: float  # largest difference in ``embedding`` and ``cam``, as a share of the network's largest value there
    agreement: float = 1.0  # least share of images with the same label
    points: float = 1.0  # most points of sensitivity or specificity that any class may lose
    logits: float | None = None  # largest absolute difference of any logit; None where the probabilities' alone counts

    def of_passes(self, has_second_pass: bool) -> Tolerance:
        """Return what is allowed to a network that may have a second pass, whose rounding also moves its window.

        Four times as much, in float32 20 times in a probability, in int8 the same.  Between torch and onnxruntime, a
        probability of one scan in 1000 differed by 5.9e-5 where the network was unsure where to look; with one pass, by
        less than 1e-6.  It is no fault of the file: of the same network, torch's own float32 and float64 differ by
        9.2e-5, and in logits by 4.0e-4.
        """
        if not has_second_pass or self == INT8:
            return self
        times = SECOND_PASS if self == EXACT else 4.0
        logits = None if self.logits is None else times * self.logits
        return self._replace(probability=times * self.probability, relative=4.0 * self.relative, logits=logits)


SECOND_PASS = 20.0  # times the probability that float32 may differ by in one pass, see `Tolerance.of_passes`
# On 780 BUSI images and on simulated scans, which it is unsure of, the shipped model stays below half of these limits
# in embedding and maps.
EXACT = Tolerance(1e-5, 1e-4, logits=1e-4)
CLOSE = Tolerance(1e-4, 1e-3)
HALF = Tolerance(5e-3, 0.05)
INT8 = Tolerance(0.15, 0.5, agreement=0.985)
# Another resize: one grey level in few pixels, see `preprocessing_graph`.
RESIZED = Tolerance(0.02, 0.05, agreement=0.99)


def compare(answers: Answers, reference: Answers, images: GateImages, classes: tuple[str, ...]) -> FormatRow:
    """Compare a file's answers to N images with the network's, the reference.

    Answers are ``logits`` and ``probabilities`` (N, C), ``embedding`` (N, D) and ``cam`` (N, C, h, w).

    Returns:
        ``images``, their ``count`` and the ``distinct`` ones among them, less than all where variants were made;
        ``max_abs`` and ``mean_abs`` of the probabilities' differences;
        ``max_abs_logits``; ``max_relative`` of ``embedding`` and ``cam``; ``labels_equal``; ``worst``: the image with
        the largest difference; ``sensitivity_change`` and ``specificity_change`` by class in points and ``judged_on``:
        ``sealed predictions``, ``own labels``, or nothing where true classes are not known.

    Raises:
        GateError: Outputs of another shape, or numbers that are not finite.
    """
    for name, values in reference.items():
        if answers[name].shape != values.shape or not np.isfinite(answers[name]).all():
            what = "NaN or infinity" if answers[name].shape == values.shape else f"the shape {answers[name].shape}"
            raise GateError(f"output {name}: found {what}, expected finite numbers of the shape {values.shape}")
    found, expected = answers["probabilities"], reference["probabilities"]
    differences = np.abs(found.astype(np.float64) - expected)
    figures: FormatRow = {
        "images": images.source,
        "count": len(found),
        "distinct": images.distinct,
        "max_abs": float(differences.max()),
        "mean_abs": float(differences.mean()),
        "max_relative": {
            name: float(np.abs(answers[name] - reference[name]).max() / np.abs(reference[name]).max())
            for name in ("embedding", "cam")
        },
        "max_abs_logits": float(np.abs(answers["logits"].astype(np.float64) - reference["logits"]).max()),
        "labels_equal": int((found.argmax(1) == expected.argmax(1)).sum()),
        "worst": images.names[int(differences.max(1).argmax())],
    }
    if images.labels is None:
        return figures
    if images.sealed is not None:
        logits = np.log(np.clip(images.sealed, 1e-300, None))
        moved = logits + (answers["logits"].astype(np.float64) - reference["logits"])
        before, after, judged_on = logits.argmax(1), moved.argmax(1), "sealed predictions"
    else:
        before, after, judged_on = expected.argmax(1), found.argmax(1), "own labels"
    old, new = _rates(before, images.labels, classes), _rates(after, images.labels, classes)
    figures["sensitivity_change"], figures["specificity_change"] = (
        {key: 100 * (new[key][index] - old[key][index]) for key in classes} for index in range(2)
    )
    figures["judged_on"] = judged_on
    return figures


def _rates(
    predicted: NDArray[np.int64], labels: NDArray[np.int64], classes: tuple[str, ...]
) -> dict[str, tuple[float, float]]:
    """Sensitivity and specificity by class; a class without images, or with all of them, loses nothing."""
    rates = {}
    for index, name in enumerate(classes):
        own = labels == index
        hit = predicted == index
        rates[name] = (
            float(hit[own].mean()) if own.any() else 1.0,
            float(1 - hit[~own].mean()) if (~own).any() else 1.0,
        )
    return rates


def problems(figures: FormatRow, tolerance: Tolerance) -> list[str]:
    """Return what keeps a file from passing; nothing if it passes."""
    found = []
    if not figures["max_abs"] <= tolerance.probability:
        found.append(f"a probability differs by {figures['max_abs']:.2g} (allowed {tolerance.probability:g})")
    if tolerance.logits is not None and not figures["max_abs_logits"] <= tolerance.logits:
        found.append(f"a logit differs by {figures['max_abs_logits']:.2g} (allowed {tolerance.logits:g})")
    for name, value in figures["max_relative"].items():
        if not value <= tolerance.relative:
            found.append(f"{name} differs by {value:.2g} of its largest value (allowed {tolerance.relative:g})")
    agreement = figures["labels_equal"] / figures["count"]
    if agreement < tolerance.agreement:
        found.append(
            f"{figures['labels_equal']} of {figures['count']} labels are equal (allowed: {tolerance.agreement:.1%})"
        )
    changes = {"sensitivity": figures.get("sensitivity_change"), "specificity": figures.get("specificity_change")}
    for kind, by_class in changes.items():
        for name, change in (by_class or {}).items():
            if change < -tolerance.points:
                found.append(f"{kind} of {name} changes by {change:.1f} points (allowed -{tolerance.points:g})")
    return found
