"""``folds/*.json``: what one fold of one arm answered, and all that its trainings read.

What a kept result was made from: another call may use it again only where it would start from the very same.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sonoforge.runtime.atomic import plain
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.classifier.settings import ClassifierSettings
from sonoforge.training.classifier.trust import HeldOutTrust
from sonoforge.training.comparators.table import COMPARATORS
from sonoforge.training.crossval.arms import changes_of, find_arm
from sonoforge.training.crossval.choice_grid import Choosing
from sonoforge.training.data.changed_images import name_some
from sonoforge.training.data.split_plan import SplitPlan
from sonoforge.training.statistics.results import FoldChoiceResult

_UNKNOWN = "unknown"  # a setting that one of the two does not have
REMEDY = "restore what changed, or leave out --resume to start again"


@dataclass(frozen=True)
class MadeFrom:
    """All that determines a classifier of an arm, beside the fold."""

    plan: str  # `SplitPlan.digest`: the images, their classes, groups and folds, and the seed
    weights: str  # `weights.Backbone.digest` of the initial weights
    # `classifier` or `comparator`, `generator` where the arm has one, `arm` where it has a dose or a share, and
    # `choosing` where settings are chosen by inner folds; as JSON has them.
    settings: Mapping[str, Any]


def made_from(
    plan: SplitPlan,
    arm: str,
    classifier: ClassifierSettings,
    weights: str,
    generator: Mapping[str, Any],
    choosing: Choosing | None = None,
) -> MadeFrom:
    """Collect what the classifier of an arm is made from; ``generator`` is `Pretrained.record` of the generators.

    An arm without generators ignores these, a comparator what is chosen and the settings of the classifier.
    """
    own = find_arm(arm)
    settings: dict[str, Any] = {"classifier": dataclasses.asdict(classifier)}
    if own.comparator:
        settings = {"comparator": dataclasses.asdict(COMPARATORS[own.comparator])}
    elif choosing and choosing.candidates(own):
        settings["choosing"] = dict(choosing.grid) | {"inner_folds": choosing.inner_folds}
    if own.reads_generators or own.fill == "untrained":
        settings["generator"] = generator
    if changes_of(own):
        settings["arm"] = changes_of(own)
    return MadeFrom(plan.digest, weights, plain(settings))


def check_made_from(path: Path, before: MadeFrom, now: MadeFrom) -> None:
    """Refuse a kept result that was made from something else."""
    if before == now:
        return
    if before.plan != now.plan:
        found = "with another split plan than this run's"
    elif before.weights != now.weights:
        found = f"from initial weights {before.weights or 'none'}, expected {now.weights or 'none'}"
    else:
        was, is_now = _flat(before.settings), _flat(now.settings)
        pairs = [(name, was.get(name, _UNKNOWN), is_now.get(name, _UNKNOWN)) for name in sorted({*was, *is_now})]
        found = "with " + name_some(f"{name} {old}, expected {new}" for name, old, new in pairs if old != new)
    raise SonoforgeError(f"{path}: was made {found}; {REMEDY}")


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{part}.{name}": value for part, values in settings.items() for name, value in values.items()}


CLASSIFIER, GENERATOR, GENERATED = "classifier", "generator", "generated"


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
    # Content hashes of the images of every stage: `classifier` and `generator CLASS`, which learned from them, so that
    # none may be a test image; `generated`, images that a generator made.
    reads: dict[str, Sequence[str]]
    made_from: MadeFrom  # what a resumed run must start from to keep this result
    trust: HeldOutTrust | None = None  # what the test images are judged by beside the distance; None of a comparator
    inner_of: int | None = None  # of an inner fold: the outer one, see `fold_task.Inside`
    choice: FoldChoiceResult | None = None  # where settings were chosen inside the fold, see `nested_choice`


def read_fold(path: Path) -> FoldResult:
    """Read the result of a fold from its file.

    Raises:
        SonoforgeError: It cannot be read, or does not say what it was made from.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        values["made_from"] = MadeFrom(**values["made_from"])
        values["reads"] = {stage: tuple(hashes) for stage, hashes in values["reads"].items()}
        values["trust"] = values["trust"] and HeldOutTrust(**values["trust"])
        return FoldResult(**values)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SonoforgeError(f"{path}: not a readable fold result ({error}); {REMEDY}") from error
