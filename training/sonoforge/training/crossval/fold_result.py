"""``folds/*.json``: what one fold of one arm answered, and all that its trainings read."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sonoforge.runtime import atomic
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.classifier.trust_reference import HeldOutTrust
from sonoforge.training.crossval.made_from import REMEDY, MadeFrom
from sonoforge.training.statistics.results import FoldChoiceResult

CLASSIFIER, GENERATOR, GENERATED = "classifier", "generator", "generated"


@dataclass(frozen=True)
class StageReads:
    """The images of one stage of a fold."""

    # `classifier` or `generator`, which learned from the images; `generated`: images it was given that a generator
    # made.
    stage: str
    hashes: tuple[str, ...]  # content hashes of the images
    class_name: str = ""  # of a generator, else empty

    @property
    def learned(self) -> bool:
        """Whether something was trained on the images, so that none of them may be a test image."""
        return self.stage != GENERATED


@dataclass(frozen=True)
class FoldResult:
    """One fold of one arm."""

    arm: str  # name, see `arms`
    protocol: str  # see `splits.make_plan`
    seed: int
    fold: int
    files: list[str]  # N test images
    probabilities: list[list[float]]  # their answers, (N, C)
    accuracy: float  # share of them that is right
    distances: list[float]  # of their embeddings from the training embeddings, (N,)
    train_accuracy: float  # share of the training images that is right
    history: list[dict[str, float]]  # learning curve, see `fine_tuning.fit`
    added: int  # number of images that the arm added
    seconds: float  # of the whole fold
    reads: tuple[StageReads, ...]  # every stage with its images
    made_from: MadeFrom  # what a resumed run must start from to keep this result
    trust: HeldOutTrust | None = None  # what the test images are judged by beside the distance; None for few images
    inner_of: int | None = None  # of an inner fold: the outer one, see `fold_task.Inside`
    choice: FoldChoiceResult | None = None  # where settings were chosen inside the fold, see `nested_choice`


def write_fold(path: Path, result: FoldResult) -> None:
    """Write the result; in the file, ``reads`` maps ``generator benign``, for example, to hashes."""
    values: dict[str, Any] = {field.name: getattr(result, field.name) for field in dataclasses.fields(result)}
    reads = {f"{own.stage} {own.class_name}".rstrip(): own.hashes for own in result.reads}
    trust = None if result.trust is None else result.trust._asdict()
    atomic.write_json(path, values | {"reads": reads, "trust": trust})


def read_fold(path: Path) -> FoldResult:
    """Read `write_fold`'s file.

    Raises:
        SonoforgeError: It cannot be read, or does not say what it was made from.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        made_from, trust = values.pop("made_from"), values.pop("trust")
        reads = []
        for key, hashes in values.pop("reads").items():
            stage, _, class_name = key.partition(" ")
            reads.append(StageReads(stage, tuple(hashes), class_name))
        judged = None if trust is None else HeldOutTrust(**trust)
        return FoldResult(**values, reads=tuple(reads), made_from=MadeFrom(**made_from), trust=judged)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SonoforgeError(f"{path}: not a readable fold result ({error}); {REMEDY}") from error
