"""Which image is tested in which fold, as a value and as the file ``splits.json``."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.atomic import write_json
from sonoforge.runtime.errors import SonoforgeError

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
