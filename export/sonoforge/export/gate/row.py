"""What the manifest, the card and the screen tell of one exported file."""

from typing import Any, TypedDict


class FormatRow(TypedDict, total=False):
    """One format of a bundle and how its file did in the gate.

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
    # Classifiers: the fields of `tolerance.Tolerance`; generators: the largest difference allowed.
    tolerance: dict[str, float] | float
    max_abs: float  # largest difference: of a probability; of an image, in [-1, 1]
    # Classifiers alone, see `tolerance.compare`.
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
