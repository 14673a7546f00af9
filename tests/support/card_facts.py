"""What a run folder says of a run, read without the program's own records of its model."""

from __future__ import annotations

import csv
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml


@dataclass(frozen=True)
class CardFacts:
    """Facts of a ``run`` or a ``train``, from its settings, log, splits, predictions and the files it was given."""

    folder: Path
    results: dict[str, Any]
    config: dict[str, Any]
    weights: str  # initial weights, as the log has them
    arm: str  # of the model
    classes: list[str]
    images: dict[str, int]  # of the data set, by class
    trained: dict[str, int]  # that the model was trained on, by class
    given_groups: int  # among these, from groups.csv

    @property
    def cross_validated(self) -> bool:
        """Whether it is a ``run``."""
        return "arms" in self.results

    @property
    def figures(self) -> dict[str, Any]:
        """The figures of the model's arm."""
        figures: dict[str, Any] = self.results["arms"][self.arm] if self.cross_validated else self.results["evaluation"]
        return figures

    @property
    def simulated(self) -> bool:
        """Whether the images are phantoms."""
        return self.config["data"] == ["phantom"]

    @property
    def judged(self) -> int:
        """Number of test images."""
        return sum(self.images.values()) - (0 if self.cross_validated else sum(self.trained.values()))

    @property
    def added(self) -> dict[str, int]:
        """What fills every class up to the largest."""
        if self.arm not in ("gan", "duplicates"):
            return {}
        missing = {name: max(self.trained.values()) - count for name, count in self.trained.items()}
        return {name: count for name, count in missing.items() if count}


def read_facts(folder: Path, data: Path, arm: str, result: dict[str, Any]) -> CardFacts:
    """Read a finished run's facts.

    Args:
        folder: The run folder.
        data: The data set's folder.
        arm: Of the model.
        result: What the command printed.
    """
    classes = [path.name for path in sorted(data.iterdir()) if path.is_dir()]
    if set(classes) == {"normal", "benign", "malignant"}:
        classes = ["normal", "benign", "malignant"]
    files = {name: [p.name for p in (data / name).iterdir() if "_mask" not in p.name] for name in classes}
    images = {name: len(own) for name, own in files.items()}
    trained, groups = images, {}
    if (data / "groups.csv").is_file():
        groups = {row["file"]: row["group"] for row in csv.DictReader((data / "groups.csv").open())}
    if "arms" not in result:
        held_out = Counter(np.repeat(classes, np.array(result["evaluation"]["confusion"]).sum(axis=1)).tolist())
        trained = {name: count - held_out[name] for name, count in images.items()}
    log = (folder / "log.txt").read_text()
    return CardFacts(
        folder,
        result,
        yaml.safe_load((folder / "config.yaml").read_text()),
        re.findall(r"initial weights: (.*)", log)[-1],
        arm,
        classes,
        images,
        trained,
        len(set(groups.values())),
    )
