"""``folds/*.json``: what one fold of one arm answered, and all that its trainings read."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sonoforge.runtime import atomic

CLASSIFIER, GENERATOR, GENERATED = "classifier", "generator", "generated"


@dataclass(frozen=True)
class StageReads:
    """The images of one stage of a fold.

    Attributes:
        stage: ``classifier`` or ``generator``, which learned from the images; ``generated``: images it was given
            that a generator made.
        class_name: Of a generator, else empty.
        hashes: Content hashes of the images.
    """

    stage: str
    hashes: tuple[str, ...]
    class_name: str = ""

    @property
    def learned(self) -> bool:
        """Whether something was trained on the images, so that none of them may be a test image."""
        return self.stage != GENERATED


@dataclass(frozen=True)
class FoldResult:
    """One fold of one arm.

    Attributes:
        arm: Row of `arms.ARMS`.
        protocol: ``sealed`` or ``thesis``.
        seed: Seed of split and training.
        fold: Number of the fold.
        files: N test images.
        probabilities: Their answers, (N, C).
        accuracy: Share of them that is right.
        distances: Of their embeddings from the training embeddings, (N,).
        train_accuracy: Share of the training images that is right.
        history: Learning curve, see `fine_tuning.fit`.
        added: Number of images that the arm added.
        seconds: Of the whole fold.
        reads: Every stage with its images.
    """

    arm: str
    protocol: str
    seed: int
    fold: int
    files: list[str]
    probabilities: list[list[float]]
    accuracy: float
    distances: list[float]
    train_accuracy: float
    history: list[dict[str, float]]
    added: int
    seconds: float
    reads: tuple[StageReads, ...]


def write_fold(path: Path, result: FoldResult) -> None:
    """Write the result; in the file, ``reads`` maps ``generator benign``, for example, to hashes."""
    values: dict[str, Any] = {field.name: getattr(result, field.name) for field in dataclasses.fields(result)}
    reads = {f"{own.stage} {own.class_name}".rstrip(): own.hashes for own in result.reads}
    atomic.write_json(path, values | {"reads": reads})


def read_fold(path: Path) -> FoldResult:
    """Read `write_fold`'s file."""
    values = json.loads(path.read_text(encoding="utf-8"))
    reads = []
    for key, hashes in values.pop("reads").items():
        stage, _, class_name = key.partition(" ")
        reads.append(StageReads(stage, tuple(hashes), class_name))
    return FoldResult(**values, reads=tuple(reads))
