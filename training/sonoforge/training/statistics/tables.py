"""From `predictions.csv` to every figure of the tables; nothing else is read, so anyone can recompute them."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime import atomic
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.statistics import estimates as statistics
from sonoforge.training.statistics.estimates import Interval

Indices = NDArray[np.int64]
ALPHA = 0.1
"""Error rate of the conformal sets (evidence protocol: sets at 90 %)."""


@dataclass(frozen=True)
class Predictions:
    """One arm with one seed: each test image predicted once, by the fold that did not train on it.

    Attributes:
        arm: Row of `arms.ARMS`.
        protocol: ``sealed`` or ``thesis``.
        seed: Seed of split and training.
        files: (N,) image paths.
        groups: (N,) near-duplicate or patient groups.
        folds: (N,) fold that tested the image.
        labels: (N,) true classes.
        probabilities: (N, C), uncalibrated.
    """

    arm: str
    protocol: str
    seed: int
    files: tuple[str, ...]
    groups: Indices
    folds: Indices
    labels: Indices
    probabilities: NDArray[np.float64]


def write_predictions(path: Path, predictions: Sequence[Predictions], classes: Sequence[str]) -> None:
    """Write all arms and seeds as one CSV: file, group, fold, arm, protocol, seed, label, one column a class."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["file", "group", "fold", "arm", "protocol", "seed", "label", *(f"p_{name}" for name in classes)])
    for part in predictions:
        for i, file in enumerate(part.files):
            writer.writerow(
                [file, part.groups[i], part.folds[i], part.arm, part.protocol, part.seed, classes[part.labels[i]]]
                + [repr(float(p)) for p in part.probabilities[i]]
            )
    atomic.write_text(path, buffer.getvalue())


def read_predictions(path: Path) -> tuple[list[Predictions], tuple[str, ...]]:
    """Read `write_predictions`' file; returns the arms in file order and the class names.

    Raises:
        SonoforgeError: Not such a file.
    """
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
        classes = tuple(name.removeprefix("p_") for name in rows[0] if name.startswith("p_"))
        keys = list(dict.fromkeys((row["arm"], row["protocol"], int(row["seed"])) for row in rows))
        parts = []
        for arm, protocol, seed in keys:
            own = [r for r in rows if (r["arm"], r["protocol"], int(r["seed"])) == (arm, protocol, seed)]
            parts.append(
                Predictions(
                    arm,
                    protocol,
                    seed,
                    tuple(row["file"] for row in own),
                    np.array([int(row["group"]) for row in own]),
                    np.array([int(row["fold"]) for row in own]),
                    np.array([classes.index(row["label"]) for row in own]),
                    np.array([[float(row[f"p_{name}"]) for name in classes] for row in own]),
                )
            )
    except (OSError, KeyError, ValueError, IndexError) as error:
        raise SonoforgeError(f"{path}: not a predictions.csv of crossval ({error})") from error
    return parts, classes


def _interval(interval: Interval) -> dict[str, float]:
    return interval._asdict()


def describe_arm(part: Predictions, classes: Sequence[str]) -> dict[str, Any]:
    """All figures of one arm with one seed, ready for JSON; intervals are 95 %."""
    labels, raw = part.labels, part.probabilities
    calibrated = statistics.cross_fitted_temperature(labels, raw, part.folds)
    confusion = statistics.confusion_matrix(labels, raw.argmax(axis=1).astype(np.int64), len(classes))
    by_fold = [statistics.accuracy(labels[part.folds == f], raw[part.folds == f]) for f in np.unique(part.folds)]
    coverage, set_size = statistics.conformal_coverage(labels, calibrated, part.folds, ALPHA)
    figures = {"accuracy": statistics.accuracy, "balanced_accuracy": statistics.balanced_accuracy}
    figures |= {"macro_f1": statistics.macro_f1, "macro_auc": statistics.macro_auc}
    return {
        "images": len(labels),
        "groups": len(np.unique(part.groups)),
        "confusion": confusion.tolist(),
        "sensitivity": {name: _interval(statistics.sensitivity(confusion, i)) for i, name in enumerate(classes)},
        "specificity": {name: _interval(statistics.specificity(confusion, i)) for i, name in enumerate(classes)},
        **{
            name: _interval(statistics.group_bootstrap(figure, labels, raw, part.groups))
            for name, figure in figures.items()
        },
        "fold_accuracy": {"mean": float(np.mean(by_fold)), "sd": float(np.std(by_fold, ddof=1)), "values": by_fold},
        "ece": statistics.expected_calibration_error(labels, raw),
        "ece_calibrated": statistics.expected_calibration_error(labels, calibrated),
        "brier": statistics.brier_score(labels, raw),
        "brier_calibrated": statistics.brier_score(labels, calibrated),
        "temperature": statistics.fit_temperature(labels, raw),
        "conformal": {
            "alpha": ALPHA,
            "coverage": dict(zip(classes, coverage.tolist(), strict=True)),
            "mean_set_size": set_size,
        },
    }


def compare_arms(first: Predictions, second: Predictions) -> dict[str, Any]:
    """Paired comparison of two arms on the same images; differences are ``second - first``.

    Raises:
        SonoforgeError: The two did not predict the same images.
    """
    order = {file: i for i, file in enumerate(second.files)}
    if set(order) != set(first.files):
        raise SonoforgeError(f"arms {first.arm} and {second.arm} did not predict the same images: cannot be paired")
    match = np.array([order[file] for file in first.files])
    theirs = second.probabilities[match]
    first_right = first.probabilities.argmax(axis=1) == first.labels
    second_right = theirs.argmax(axis=1) == first.labels
    test = statistics.mcnemar_exact(first_right, second_right)
    share = float(np.mean(first_right != second_right))
    paired = (first.labels, first.probabilities, theirs, first.groups)
    return {
        "first": first.arm,
        "second": second.arm,
        "seed": first.seed,
        "accuracy_difference": _interval(statistics.paired_bootstrap(statistics.accuracy, *paired)),
        "macro_auc_difference": _interval(statistics.paired_bootstrap(statistics.macro_auc, *paired)),
        "mcnemar": test._asdict(),
        "minimum_detectable_difference": statistics.minimum_detectable_difference(len(first.labels), share),
    }


def evaluate(predictions: Sequence[Predictions], classes: Sequence[str]) -> dict[str, Any]:
    """Figures of every arm (first seed in full, all seeds in short) and each arm against the first one.

    Returns:
        ``arms``: `describe_arm` by arm name, with ``seeds`` (accuracy and macro-AUC of each seed, mean, sd);
        ``comparisons``: `compare_arms` of the first arm with every other.
    """
    arms: dict[str, Any] = {}
    for name in dict.fromkeys(part.arm for part in predictions):
        own = [part for part in predictions if part.arm == name]
        accuracies = [statistics.accuracy(part.labels, part.probabilities) for part in own]
        areas = [statistics.macro_auc(part.labels, part.probabilities) for part in own]
        arms[name] = describe_arm(own[0], classes) | {
            "seeds": {
                "seeds": [part.seed for part in own],
                "accuracy": accuracies,
                "macro_auc": areas,
                "accuracy_sd": float(np.std(accuracies, ddof=1)) if len(own) > 1 else None,
            }
        }
    first_seed = [part for part in predictions if part.seed == predictions[0].seed]
    comparisons = [compare_arms(first_seed[0], part) for part in first_seed[1:]]
    return {"arms": arms, "comparisons": comparisons}
