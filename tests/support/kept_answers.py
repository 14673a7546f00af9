"""Answers that stand beside a page of training/docs, so that its tables can be computed from them again."""

from __future__ import annotations

import csv
import gzip
from collections import defaultdict
from pathlib import Path
from typing import IO

CLASSES = ("normal", "benign", "malignant")


def open_answers(path: Path) -> IO[str]:
    return gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8")


def accuracies(path: Path, images: int) -> dict[tuple[str, str, str], float]:
    """The share of right answers by arm, protocol and seed, of so many images each."""
    right: dict[tuple[str, str, str], dict[str, bool]] = defaultdict(dict)
    with open_answers(path) as file:
        for row in csv.DictReader(file):
            answer = max(CLASSES, key=lambda name: float(row[f"p_{name}"]))
            own = right[row["arm"], row["protocol"], row["seed"]]
            assert row["file"] not in own
            own[row["file"]] = answer == row["label"]
    assert {len(answers) for answers in right.values()} == {images}
    return {key: sum(answers.values()) / images for key, answers in right.items()}
