"""Which image is tested in which fold, as a value and as the file ``splits.json``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.atomic import write_json
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.data.cache import ImageCache

PROTOCOLS = ("sealed", "thesis")


@dataclass(frozen=True)
class SplitPlan:
    """The fold of every image."""

    protocol: str  # `sealed` or `thesis`
    seed: int
    folds: int  # number of folds K
    fingerprint: str  # that of the image cache that the plan was made for
    files: tuple[str, ...]  # (N) relative path of each image
    hashes: tuple[str, ...]  # (N) content hash of each image
    labels: tuple[int, ...]  # (N) class index
    # (N) group number: near-duplicates and given groups joined. Under `thesis` they do not shape the folds, but
    # statistics still resample by them.
    groups: tuple[int, ...]
    fold_of: tuple[int, ...]  # (N) fold in which each image is tested, 0..K-1
    # Whether near-duplicates took part in the groups; False only for a set whose images all share an outline, where the
    # given groups stand alone.
    by_appearance: bool = True

    def train(self, fold: int) -> NDArray[np.int64]:
        """Return the indices of the images that fold ``fold`` may train on."""
        return np.flatnonzero(np.array(self.fold_of) != self._checked(fold))

    def test(self, fold: int) -> NDArray[np.int64]:
        """Return the indices of the images that fold ``fold`` tests."""
        return np.flatnonzero(np.array(self.fold_of) == self._checked(fold))

    def _checked(self, fold: int) -> int:
        if not 0 <= fold < self.folds:
            raise SonoforgeError(f"fold {fold}: expected 0 to {self.folds - 1}; the plan has {self.folds} folds")
        return fold


def save_plan(path: Path, plan: SplitPlan) -> None:
    """Write ``splits.json``."""
    write_json(path, asdict(plan))


def load_plan(path: Path, cache: ImageCache) -> SplitPlan:
    """Read ``splits.json`` and check it against the data.

    Raises:
        SonoforgeError: Not a plan, inconsistent, made for other data, or (``sealed``) splitting a group.
    """
    try:
        raw = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise SonoforgeError(f"{path}: cannot be read ({error.strerror or error}); run crossval to make one") from error
    except ValueError as error:
        raise SonoforgeError(f"{path}: not valid JSON ({error}); delete it to have it made again") from error
    plan = _parse(raw, path)
    remedy = "delete it to have a plan made for this data"
    if plan.fingerprint != cache.fingerprint:
        raise SonoforgeError(
            f"{path}: made for other data (fingerprint {plan.fingerprint[:12]}, {cache.dataset.root} has "
            f"{cache.fingerprint[:12]}); {remedy}"
        )
    items = cache.dataset.items
    expected = (tuple(i.path for i in items), cache.hashes, tuple(i.label for i in items))
    if (plan.files, plan.hashes, plan.labels) != expected:
        raise SonoforgeError(f"{path}: names, order or labels of the images differ from {cache.dataset.root}; {remedy}")
    if plan.protocol == "sealed":
        _check_unsplit(plan, plan.groups, path, "group")
        _check_unsplit(plan, [item.group for item in items], path, "the given group")
        _check_unsplit(plan, plan.hashes, path, "content")
        if not plan.by_appearance and not cache.duplicates.shares_layout:
            raise SonoforgeError(f"{path}: ignores near-duplicates, which can be found in these images; {remedy}")
    return plan


_SCALARS = {"protocol": str, "seed": int, "folds": int, "fingerprint": str, "by_appearance": bool}
_COLUMNS: dict[str, type] = {"files": str, "hashes": str, "labels": int, "groups": int, "fold_of": int}


def _parse(raw: Any, path: Path) -> SplitPlan:
    """Check the types and ranges of a plan's fields."""
    names = {*_SCALARS, *_COLUMNS}
    if not isinstance(raw, dict) or set(raw) != names:
        found = ", ".join(sorted(raw)) if isinstance(raw, dict) else type(raw).__name__
        raise SonoforgeError(f"{path}: found {found}, expected {', '.join(sorted(names))}")
    for name, kind in _SCALARS.items():
        if type(raw[name]) is not kind:
            raise SonoforgeError(f"{path}: field {name} is {raw[name]!r}, expected {kind.__name__}; restore the file")
    for name, kind in _COLUMNS.items():
        if not isinstance(raw[name], list) or any(
            type(v) is not kind or (isinstance(v, int) and v < 0) for v in raw[name]
        ):
            what = "whole numbers from 0" if kind is int else "texts"
            raise SonoforgeError(f"{path}: field {name} is not a list of {what}; restore the file")
    values: Any = {name: tuple(value) if name in _COLUMNS else value for name, value in raw.items()}
    plan = SplitPlan(**values)
    if plan.protocol not in PROTOCOLS or plan.folds < 2:
        raise SonoforgeError(
            f"{path}: found protocol {plan.protocol!r} with {plan.folds} folds, expected {' or '.join(PROTOCOLS)} with "
            "at least 2; restore the file"
        )
    lengths = {len(raw[name]) for name in _COLUMNS}
    if len(lengths) != 1:
        raise SonoforgeError(f"{path}: its lists have different lengths {sorted(lengths)}; restore the file")
    if set(plan.fold_of) != set(range(plan.folds)):
        raise SonoforgeError(f"{path}: expected images in each of the folds 0 to {plan.folds - 1}; restore the file")
    return plan


def _check_unsplit(plan: SplitPlan, keys: Sequence[object], path: Path, what: str) -> None:
    first: dict[object, int] = {}
    for index, key in enumerate(keys):
        other = first.setdefault(key, index)
        if key is not None and plan.fold_of[other] != plan.fold_of[index]:
            raise SonoforgeError(
                f"{path}: {what} {key} is split over folds {plan.fold_of[other]} ({plan.files[other]}) and "
                f"{plan.fold_of[index]} ({plan.files[index]}), which sealed forbids; delete it to have a plan made"
            )
