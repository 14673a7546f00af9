"""Record which image is tested in which fold, as a value and as ``splits.json``, and find images changed since."""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.atomic import write_json
from sonoforge.runtime.errors import SonoforgeError, name_some
from sonoforge.training.statistics.results import LEAVE_ONE_OUT, ONE_SPLIT

UNTESTED = -1
"""The fold of an image that is trained on but never tested, under `results.ONE_SPLIT`."""
LEFT_OUT = -2
"""The fold of an image that the plan may not read: in an inner split, the test images of its outer fold."""
FILE = "splits.json"
"""The plan of a run folder; with several seeds, the plan of the first."""


@dataclass(frozen=True)
class SplitPlan:
    """The fold of every image."""

    protocol: str  # one of `results.PROTOCOLS`
    seed: int
    folds: int  # number of folds K
    fingerprint: str  # of the image cache that the plan was made for
    files: tuple[str, ...]  # (N) relative path of each image
    hashes: tuple[str, ...]  # (N) content hash of each image
    labels: tuple[int, ...]  # (N) class index
    groups: tuple[int, ...]  # (N) group number: near-duplicates and given groups joined
    fold_of: tuple[int, ...]  # (N) fold in which each image is tested, 0..K-1, or `UNTESTED` or `LEFT_OUT`

    @property
    def digest(self) -> str:
        """SHA-256 of the whole plan, equal for equal images in equal folds and groups."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    @property
    def images(self) -> dict[str, str]:
        """Content hash of each image by its path."""
        return dict(zip(self.files, self.hashes, strict=True))

    def train(self, fold: int) -> NDArray[np.int64]:
        """Return the indices of the images that a fold may train on."""
        own = np.array(self.fold_of)
        trained = (own != self._checked(fold)) & (own != LEFT_OUT)
        if self.protocol == LEAVE_ONE_OUT:  # a patient or a scan may be in two collections
            groups = np.array(self.groups)
            trained &= ~np.isin(groups, groups[own == fold])
        return np.flatnonzero(trained)

    def test(self, fold: int) -> NDArray[np.int64]:
        """Return the indices of the images that a fold tests."""
        return np.flatnonzero(np.array(self.fold_of) == self._checked(fold))

    @property
    def tested(self) -> NDArray[np.int64]:
        """Return the indices of the images that some fold tests, which are not all in one split or an inner split."""
        return np.flatnonzero(np.array(self.fold_of) >= 0)

    @property
    def left_out(self) -> NDArray[np.int64]:
        """Return the indices of the images that the plan may not read."""
        return np.flatnonzero(np.array(self.fold_of) == LEFT_OUT)

    def _checked(self, fold: int) -> int:
        if not 0 <= fold < self.folds:
            raise SonoforgeError(f"fold {fold}: the plan has folds 0 to {self.folds - 1}")
        return fold


def plan_path(folder: Path, seed: int, first_seed: int) -> Path:
    """Return where a run folder keeps the plan of a seed."""
    return folder / (FILE if seed == first_seed else f"splits-seed{seed}.json")


def save_plan(path: Path, plan: SplitPlan) -> None:
    """Write ``splits.json``."""
    write_json(path, asdict(plan))


def read_plan(path: Path) -> SplitPlan:
    """Read `save_plan`'s file, which must give every file one fold."""
    remedy = "restore it, or start a new run"
    try:
        read: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        values: dict[str, Any] = {key: tuple(own) if isinstance(own, list) else own for key, own in read.items()}
        plan = SplitPlan(**values)
    except OSError as error:
        raise SonoforgeError(f"{path}: cannot be read ({error.strerror}); {remedy}") from error
    except (ValueError, TypeError, AttributeError) as error:
        expected = ", ".join(field.name for field in fields(SplitPlan))
        raise SonoforgeError(f"{path}: not a split plan with {expected} ({error}); {remedy}") from error
    rows = (plan.files, plan.hashes, plan.labels, plan.groups, plan.fold_of)
    lengths = [len(row) if isinstance(row, tuple) else -1 for row in rows]
    if len(set(lengths)) > 1:
        raise SonoforgeError(
            f"{path}: its lists (files, hashes, labels, groups, fold_of) have {', '.join(map(str, lengths))} entries, "
            f"not one an image each; {remedy}"
        )
    twice = [file for file, count in Counter(plan.files).items() if count > 1]
    if twice:
        raise SonoforgeError(f"{path}: lists {twice[0]} twice; {remedy}")
    least = UNTESTED if plan.protocol in ONE_SPLIT else 0
    for file, fold in zip(plan.files, plan.fold_of, strict=True):
        if not isinstance(fold, int) or not least <= fold < plan.folds:
            raise SonoforgeError(f"{path}: {file} is in fold {fold}, not {least} to {plan.folds - 1}; {remedy}")
    return plan


def plan_difference(before: SplitPlan, now: SplitPlan) -> str:
    """Describe the first difference between two plans of the same images; empty if they are equal."""
    for name in ("protocol", "seed", "folds", "fingerprint"):
        if getattr(before, name) != getattr(now, name):
            return f"{name} {getattr(before, name)} instead of {getattr(now, name)}"
    for name, label in (("hashes", "content hash"), ("labels", "class"), ("fold_of", "fold"), ("groups", "group")):
        rows = zip(now.files, getattr(before, name), getattr(now, name), strict=True)
        differing = [f"{file} in {label} {was} instead of {own}" for file, was, own in rows if was != own]
        if differing:
            return name_some(differing, "; ")
    return "" if before.files == now.files else "the files in another order"


# ---- changed images


def check_unchanged(where: str, before: Mapping[str, str], now: Mapping[str, str]) -> None:
    """Refuse to resume results (``where``, for the message) if images have changed since.

    Both map relative paths, with the class as first folder, to content hashes.
    """
    if changes := describe_changes(before, now):
        raise SonoforgeError(
            f"{where}: its images have changed since it started: {changes}; restore the files, or leave out --resume "
            "to start again"
        )


def describe_changes(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Say which files changed their class, pixels or name, and which are new or gone; empty if none did.

    Content hashes track images, so one moved to another class is not taken for a new one.
    """
    left = {path: content for path, content in before.items() if now.get(path) != content}
    places: dict[str, list[str]] = defaultdict(list)
    for path, content in left.items():
        places[content].append(path)
    moved, renamed, other = list[str](), list[str](), list[str]()
    for path, content in now.items():
        if before.get(path) == content:
            continue
        same_class = path.partition("/")[0] + "/"
        own = places[content]
        if not own:
            other.append(path)
            continue
        was = next((old for old in own if old.startswith(same_class)), own[0])
        own.remove(was)
        del left[was]
        (renamed if was.startswith(same_class) else moved).append(f"{was} is now {path}")
    changed = [path for path in other if path in left]
    kinds = {
        "of another class": moved,
        "with other pixels": changed,
        "new": [path for path in other if path not in left],
        "gone": [path for path in left if path not in changed],
        "renamed": renamed,
    }
    return "; ".join(f"{len(found)} {kind} ({name_some(found)})" for kind, found in kinds.items() if found)
