"""What the report recomputes from the run folder's own files instead of trusting a summary.

`check_reads` compares, image by image, what every training run recorded that it read with the test fold that it was
to be kept from; `check_predictions` recounts the confusion matrices from ``predictions.csv``.
"""

import contextlib
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.errors import name_some
from sonoforge.training.crossval.fold_task import GENERATED, INNER, FoldResult, read_fold
from sonoforge.training.data.split_plan import FILE, SplitPlan, describe_changes, read_plan
from sonoforge.training.statistics.classification import confusion_matrix
from sonoforge.training.statistics.predictions import Predictions
from sonoforge.training.statistics.protocols import SEALED
from sonoforge.training.statistics.results import ArmResult


class Check(NamedTuple):
    """One comparison made while the report was written."""

    what: str
    found: str
    passed: bool


# ---- the split


def read_plans(folder: Path) -> dict[int, SplitPlan]:
    """Read ``splits.json`` and those of further seeds, by seed; the report's first plan comes first."""
    paths = [folder / FILE, *sorted(folder.glob("splits-seed*.json"))]
    return {plan.seed: plan for plan in map(read_plan, paths)}


def class_counts(plan: SplitPlan, classes: int) -> NDArray[np.int64]:
    """Count the test images of each fold by class, (folds, classes)."""
    counts = np.zeros((plan.folds, classes), np.int64)
    np.add.at(counts, (np.array(plan.fold_of)[plan.tested], np.array(plan.labels)[plan.tested]), 1)
    return counts


def divided(plan: SplitPlan, keys: Sequence[object]) -> int:
    """Count the keys (groups, content hashes) whose images lie in more than one fold."""
    folds = Counter(key for key, _ in set(zip(keys, plan.fold_of, strict=True)))
    return sum(count > 1 for count in folds.values())


@dataclass
class Reads:
    """What the training runs of one kind (``classifier``, ``inner generator``) read, against their test folds."""

    runs: int = 0  # number of training runs
    images: int = 0  # image reads recorded by them, in all
    # Test images that a training run for their fold read (each counted once for each seed).
    same_content: set[tuple[int, int]] = field(default_factory=set)
    # Test images with a member of their group among what such a run read.
    same_group: set[tuple[int, int]] = field(default_factory=set)
    # Content hashes among what was read that no image of the split has, each after its fold's file.
    unknown: list[str] = field(default_factory=list)


def read_folds(folder: Path) -> dict[Path, FoldResult]:
    """Read the folds of a run folder and the inner ones, on which settings were chosen, by file."""
    paths = [*sorted((folder / "folds").glob("*.json")), *sorted((folder / INNER).glob("*-fold*.json"))]
    return {path: read_fold(path) for path in paths}


def check_reads(folds: Mapping[Path, FoldResult], plans: Mapping[int, SplitPlan]) -> dict[str, Reads]:
    """Compare every fold's list of content hashes with the test fold it belongs to.

    Inner folds, on which settings were chosen, are compared with the test fold of the outer one.

    Returns:
        `Reads` by kind of stage, for the kinds that occur; those of inner folds are kinds of their own.
    """
    found: dict[str, Reads] = {}
    generators: set[tuple[int, int, str, tuple[str, ...]]] = set()
    for path, result in folds.items():
        if result.seed not in plans:
            continue  # `origin_checks` names it
        plan, seed = plans[result.seed], result.seed
        fold = result.fold if result.inner_of is None else result.inner_of
        test = plan.test(fold).tolist()
        groups = dict(zip(plan.hashes, plan.groups, strict=True))
        for name, hashes in result.reads.items():
            stage, _, class_name = name.partition(" ")
            if stage == GENERATED:
                continue
            if class_name:
                # Several arms may be filled by the same generators; each of these counts once.
                if (seed, fold, class_name, tuple(hashes)) in generators:
                    continue
                generators.add((seed, fold, class_name, tuple(hashes)))
            kind = stage if result.inner_of is None else f"inner {stage}"
            reads = found.setdefault(kind, Reads())
            reads.runs += 1
            reads.images += len(hashes)
            contents, seen = set(hashes), {groups[h] for h in hashes if h in groups}
            reads.unknown += [f"{path.name}: {h[:12]}" for h in sorted(contents - groups.keys())]
            reads.same_content |= {(seed, i) for i in test if plan.hashes[i] in contents}
            reads.same_group |= {(seed, i) for i in test if plan.groups[i] in seen}
    return found


def origin_checks(
    folds: Mapping[Path, FoldResult],
    plans: Mapping[int, SplitPlan],
    reads: Mapping[str, Reads],
    images: Mapping[str, str],
) -> list[Check]:
    """List what must hold under every protocol: split, folds and reads are of these very images.

    ``images`` has the content hash of each image of the data set by its path.
    """
    changes = "; ".join({describe_changes(plan.images, images): None for plan in plans.values()})
    foreign = [
        path.name
        for path, fold in folds.items()
        if fold.inner_of is None and (fold.seed not in plans or fold.made_from.plan != plans[fold.seed].digest)
    ]
    checks = [
        Check("the split is of the images of the data set", changes or "yes", not changes),
        Check("folds made with another split plan", name_some(foreign) or "0", not foreign),
    ]
    for kind, own in reads.items():
        what = f"content hashes that {_a(kind)} read and no image of the split has"
        named = f" ({name_some(own.unknown)})" if own.unknown else ""
        checks.append(Check(what, f"{len(own.unknown)}{named}", not own.unknown))
    return checks


def _a(kind: str) -> str:
    return f"{'an' if kind.startswith('inner') else 'a'} {kind}"


def split_checks(plans: Mapping[int, SplitPlan], reads: Mapping[str, Reads], near_duplicates: int) -> list[Check]:
    """List what must hold where no training sees its test images; empty for a protocol that makes no such promise."""
    checks = []
    for plan in plans.values():
        if plan.protocol not in SEALED:
            return []
        seed = f" (seed {plan.seed})" if len(plans) > 1 else ""
        kept_whole = (("groups", plan.groups), ("identical images", plan.hashes)) if plan.protocol == "sealed" else ()
        for what, keys in kept_whole:
            count = divided(plan, keys)
            checks.append(Check(f"{what} split between folds{seed}", str(count), count == 0))
    checks.append(Check("test images with a near-duplicate in training", str(near_duplicates), near_duplicates == 0))
    for kind, own in reads.items():
        count = len(own.same_content | own.same_group)
        what = f"test images that {_a(kind)} read, or read a group member of"
        checks.append(Check(what, f"{count} ({own.images} reads in {own.runs} training runs)", count == 0))
    return checks


# ---- the predictions


def check_predictions(parts: Sequence[Predictions], arms: Mapping[str, ArmResult], images: int) -> list[Check]:
    """Recount from ``predictions.csv`` and compare with what the tables print."""
    once = all(len(part.files) == len(set(part.files)) == images for part in parts)
    checks = [Check("each test image predicted once by each arm and seed", "yes" if once else "no", once)]
    for arm, figures in arms.items():
        part = next((part for part in parts if part.arm == arm), None)
        printed = np.array(figures["confusion"])
        equal = part is not None and np.array_equal(
            confusion_matrix(part.labels, part.predicted, len(printed)), printed
        )
        what = f"confusion matrix recounted from predictions.csv: {arm}"
        checks.append(Check(what, "equal" if equal else "differs", equal))
    return checks


# ---- the generators


@dataclass(frozen=True)
class GeneratorRuns:
    """All trainings of one class's generator."""

    name: str
    folder: Path  # of the first training
    curves: list[list[dict[str, float]]]  # rows of `stats.jsonl` of each training
    # `plan` of each training's `results.json` that was found: steps, batch, learning_rate.
    plans: list[dict[str, float]]
    images: list[int]  # number of real images of each training, where found

    def last(self, name: str) -> list[float]:
        """Return the last tick's value of a statistic, one for each training that has it."""
        rows = [curve[-1].get(name) for curve in self.curves if curve]
        return [float(v) for v in rows if v is not None and math.isfinite(v)]

    @property
    def collapsed(self) -> int:
        """Number of trainings with at least one tick called a collapse."""
        return sum(any(row.get("collapsed") for row in curve) for curve in self.curves)

    @property
    def collapsed_at_end(self) -> int:
        """Number of trainings whose last tick is called a collapse."""
        return sum(bool(curve and curve[-1].get("collapsed")) for curve in self.curves)


def read_generators(folder: Path, classes: Sequence[str]) -> list[GeneratorRuns]:
    """Read the statistics of all generators under ``gan/``, in the order of the classes."""
    found: dict[str, GeneratorRuns] = {}
    for path in sorted((folder / "gan").glob("seed*-*/*/stats.jsonl")):
        runs = found.setdefault(path.parent.name, GeneratorRuns(path.parent.name, path.parent, [], [], []))
        rows = []
        for line in path.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(json.JSONDecodeError):  # a line cut short by a kill
                rows.append(json.loads(line))
        runs.curves.append(rows)
        with contextlib.suppress(OSError, ValueError, KeyError):
            results = json.loads((path.parent / "results.json").read_text(encoding="utf-8"))
            runs.plans.append(results["plan"])
            runs.images.append(int(results["images"]))
    order = {name: i for i, name in enumerate(classes)}
    return sorted(found.values(), key=lambda runs: (order.get(runs.name, len(order)), runs.name))
