"""The one seam to trackers: what is sent of a run.

No file name of an image is sent, no path and no image of a patient: settings, figures, sheets of generated images, and
the bundle, which holds none either.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

PROJECT = "sonoforge"  # the experiment of MLflow, or the project of Weights & Biases, that all runs are in


class Run(NamedTuple):
    """What a tracker is told of a run at its beginning."""

    folder: Path  # whose name is the run's
    tags: Mapping[str, str]  # ``verb``, ``data`` and ``sonoforge``, its version
    settings: Mapping[str, str]  # those that have a value


class Tracker:
    """Where a run is sent to; this one sends nothing."""

    def begin(self, run: Run) -> None:
        """Begin a run, or go on with it where its folder says which it is."""

    def figures(self, step: int, values: Mapping[str, Any]) -> None:
        """Send the numbers among these values, of a step, an epoch or a fold."""

    def picture(self, name: str, step: int, path: Path) -> None:
        """Send a sheet of generated images, a PNG."""

    def artifact(self, path: Path) -> None:
        """Send a file, or a folder with all that is in it."""

    def close(self, finished: bool) -> None:
        """Say that the run has ended, or was stopped before its end."""


NONE = Tracker()


def send_history(tracker: Tracker, history: Sequence[Mapping[str, float]]) -> None:
    """Send the learning curve of a classifier: the mean of its networks, by epoch."""
    for row in history:
        own = {f"training/{name}": value for name, value in row.items() if name != "epoch"}
        tracker.figures(int(row["epoch"]), own)


def figures_of(evaluation: Mapping[str, Any], of: str) -> dict[str, float]:
    """Return accuracy and macro-AUC of an evaluation, under the name of what they are of."""
    return {f"{of}/{name}": evaluation[name]["value"] for name in ("accuracy", "macro_auc")}


def numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers among some values, under names of letters, digits and ``_ - . /``."""
    return {
        re.sub(r"[^\w./-]", "_", name): float(value)
        for name, value in values.items()
        if isinstance(value, int | float) and name != "step"
    }
