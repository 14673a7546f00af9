"""The tables of the project's README."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kept import (
    CLASSES,
    COLLECTIONS,
    interval,
    one_arm,
    table,
)

from sonoforge.runtime.bundle.reader import open_bundle

OURS = (
    ("**real images (System 1)**, ours", "sealed 10-fold", "arms-dcgan-64.csv.gz", "real", "sealed"),
    ("**real + generated (System 2)**, ours", "sealed 10-fold", "arms-dcgan-64.csv.gz", "gan", "sealed"),
    ("placebo: real + the same once more, ours", "sealed 10-fold", "arms-dcgan-64.csv.gz", "duplicates", "sealed"),
    (
        "System 1, ours",
        "plain 10-fold, 318 test images with a near-duplicate in training",
        "leakage-dcgan-64.csv.gz",
        "real",
        "plain",
    ),
    (
        "System 2, ours, 64-pixel generators of half a minute",
        "the same, generators saw the test images",
        "leakage-dcgan-64.csv.gz",
        "gan",
        "thesis",
    ),
    (
        "System 1, the thesis's [plain training](training/docs/papers.md), ours",
        "plain 10-fold",
        "system-1-thesis.csv",
        "real",
        "thesis",
    ),
)


CLAIMED = (
    (
        "System 1 (real images), S. H., MSc thesis, Middlesex University, 2024",
        "plain 10-fold",
        "0.934, implied 0.900",
        "-",
        "93 / 89 / 90",
        "96 / 95 / 95",
    ),
    (
        "System 2 (real + GAN), the same thesis",
        "plain 10-fold",
        "0.949, implied 0.955",
        "-",
        "96 / 96 / 94",
        "98 / 97 / 98",
    ),
)


def honest_table() -> str:
    rows = []
    for title, validation, file, arm, protocol in OURS:
        own = one_arm(file, arm, protocol)
        by_class = (
            " / ".join(f"{100 * own[name][label]['value']:.0f}" for label in CLASSES)
            for name in ("sensitivity", "specificity")
        )
        rows.append([title, validation, interval(own["accuracy"]), interval(own["macro_auc"]), *by_class])
    heading = ["what", "validation", "accuracy", "macro-AUC", "sensitivity N / B / M", "specificity N / B / M"]
    return table(heading, [*rows, *CLAIMED])


def shipped_decisions() -> str:
    """What the shipped bundle decides where it does not know the scanner, as its manifest records it."""
    measured = open_bundle().manifest.raw["evaluation"]["decision"]

    def row(what: str, of: Callable[[Any], str]) -> list[str]:
        return [what, *(of(measured[name]) for name in COLLECTIONS)]

    def malignant(own: Any) -> str:
        return " / ".join(f"{own[side]['malignant']['value']:.2f}" for side in ("sensitivity", "specificity"))

    def healthy(own: Any) -> str:
        return f"{own['sensitivity']['normal']['value']:.0%}" if "normal" in own["sensitivity"] else "-"

    def covered(own: Any) -> str:
        return ", ".join(f"{one[0].upper()} {found['value']:.0%}" for one, found in own["coverage"].items())

    rows = [
        row("malignant, by default: sensitivity / specificity", malignant),
        row("labels right, given its class shares", lambda own: f"{own['accuracy_at_own_shares']['value']:.2f}"),
        row("lesions called normal and nothing else", lambda own: f"{own['lesion']['calm']:.1%}"),
        row("healthy scans labelled normal", healthy),
        row("scans with one clear class", lambda own: f"{own['single_class']:.0%}"),
        row("sets that hold the class (90 % promised)", covered),
    ]
    return table(["the shipped bundle's recipe decides (seed 0)", *COLLECTIONS], rows)


TABLES = {"honest": honest_table, "shipped": shipped_decisions}
