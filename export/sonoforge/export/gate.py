"""The gate of every exported file: does it answer as the trained network does, on a hundred images and more?

Probabilities are compared, and what they lead to: labels, and the sensitivity and specificity of each class.  The
final network was trained on the very images of its data set, so its own sensitivity on them says little.  Where the
run was cross-validated, the file's change of the logits is therefore added to the sealed logits of the same images, and
sensitivity and specificity are those of the sealed predictions with and without that change.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sonoforge.export.gate_images import GateImages

Answers = Mapping[str, NDArray[np.float32]]


class Tolerance(NamedTuple):
    """How far a file may be from the network.

    Attributes:
        probability: Largest absolute difference of any probability of any image.
        agreement: Least share of images with the same label.
        sensitivity: Most points of sensitivity that any class may lose.
    """

    probability: float
    agreement: float = 1.0
    sensitivity: float = 1.0


EXACT = Tolerance(1e-5)
CLOSE = Tolerance(1e-4)
HALF = Tolerance(5e-3)
INT8 = Tolerance(0.15, agreement=0.985)
# Another resize: one grey level in few pixels, see `preprocessing_graph`.
RESIZED = Tolerance(0.02, agreement=0.99)


def compare(answers: Answers, reference: Answers, images: GateImages, classes: tuple[str, ...]) -> dict[str, Any]:
    """Compare a file's answers with the network's.

    Args:
        answers: ``logits`` and ``probabilities`` (N, C) of the file.
        reference: Of the network.
        images: The N images.
        classes: Names of the C classes.

    Returns:
        ``images`` and their ``count``; ``max_abs`` and ``mean_abs`` of the probabilities' differences;
        ``max_abs_logits``; ``labels_equal``; ``worst``: the image with the largest difference;
        ``sensitivity_change`` and ``specificity_change`` by class in points and ``judged_on``: ``sealed predictions``,
        ``own labels``, or nothing where true classes are not known.
    """
    found, expected = answers["probabilities"], reference["probabilities"]
    differences = np.abs(found.astype(np.float64) - expected)
    differences = np.where(np.isnan(differences), np.inf, differences)  # NaN is no agreement
    figures: dict[str, Any] = {
        "images": images.source,
        "count": len(found),
        "max_abs": float(differences.max()),
        "mean_abs": float(differences.mean()),
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
    for index, name in enumerate(("sensitivity_change", "specificity_change")):
        figures[name] = {key: 100 * (new[key][index] - old[key][index]) for key in classes}
    return {**figures, "judged_on": judged_on}


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


def problems(figures: Mapping[str, Any], tolerance: Tolerance) -> list[str]:
    """Say what keeps a file from passing; nothing if it passes."""
    found = []
    if not figures["max_abs"] <= tolerance.probability:
        worst = f"{figures['worst']} differs by {figures['max_abs']:.2g}"
        found.append(f"a probability of {worst} (allowed {tolerance.probability:g})")
    agreement = figures["labels_equal"] / figures["count"]
    if agreement < tolerance.agreement:
        found.append(
            f"{figures['labels_equal']} of {figures['count']} labels are equal (allowed: {tolerance.agreement:.1%})"
        )
    for name, change in figures.get("sensitivity_change", {}).items():
        if change < -tolerance.sensitivity:
            found.append(f"sensitivity of {name} changes by {change:.1f} points (allowed -{tolerance.sensitivity:g})")
    return found
