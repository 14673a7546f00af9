"""One fold of a comparison as a task for this process or another."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.seeds import derive_seed
from sonoforge.training.classifier.settings import ClassifierSettings
from sonoforge.training.classifier.weights import Backbone
from sonoforge.training.crossval.arms import Arm, file_stem, find_arm, settings_of_arm
from sonoforge.training.crossval.choice_grid import Values, of_classifier, with_dose
from sonoforge.training.crossval.fold_result import MadeFrom
from sonoforge.training.crossval.settings import ComparisonSettings
from sonoforge.training.data.load import ImageSource
from sonoforge.training.data.selection import draw_share
from sonoforge.training.data.split_plan import SplitPlan
from sonoforge.training.statistics.results import FoldChoiceResult

Indices = NDArray[np.int64]
INNER = "inner"
"""Folder of a run that holds what settings were chosen by."""


def fold_path(folder: Path, arm: str, seed: int, fold: int) -> Path:
    """Where a run folder keeps the result of a fold."""
    return folder / "folds" / f"{file_stem(arm)}-seed{seed}-fold{fold:02d}.json"


class Inside(NamedTuple):
    """What makes a fold an inner one, on which settings are chosen, see `nested_choice`."""

    fold: int | None  # the outer fold whose training part is divided; None: of the final model, which has all images
    candidate: int  # place of `tried` among the `Choosing.candidates` of the arm
    tried: Values


@dataclass(frozen=True)
class FoldTask:
    """All that one fold needs, to be run in this process or another."""

    folder: Path
    source: ImageSource  # where the images come from
    plan: SplitPlan  # the split plan of the task's seed
    fold: int
    arm: str  # name, see `arms`
    settings: ComparisonSettings  # of the whole comparison
    backbone: Backbone  # initial weights
    made_from: MadeFrom  # what its result is kept for
    inside: Inside | None = None  # of an inner fold
    choice: FoldChoiceResult | None = None  # of an outer fold whose settings were chosen

    @property
    def path(self) -> Path:
        """The fold's result, which exists once the fold is done."""
        if self.inside is None:
            return fold_path(self.folder, self.arm, self.plan.seed, self.fold)
        name = f"{file_stem(self.arm)}-seed{self.plan.seed}-{self.inside_name}-candidate{self.inside.candidate}.json"
        return self.folder / INNER / name

    @property
    def inside_name(self) -> str:
        """Name of the inner split and fold, empty for an outer fold."""
        if self.inside is None:
            return ""
        outer = "all" if self.inside.fold is None else f"fold{self.inside.fold:02d}"
        return f"{outer}-inner{self.fold}"

    @property
    def chosen(self) -> Values:
        """What was chosen for the fold, or is tried in it; empty where nothing is chosen."""
        if self.inside:
            return self.inside.tried
        return self.choice["settings"] if self.choice else {}

    @property
    def name(self) -> str:
        """What messages call it."""
        inner = f"inner fold {self.fold + 1} of {self.plan.folds}"
        if self.inside is None:
            where = f"fold {self.fold + 1} of {self.plan.folds}"
        elif self.inside.fold is None:
            where = f"all images, {inner}"
        else:
            where = f"fold {self.inside.fold + 1}, {inner}"
        return f"{self.arm}: {where} (seed {self.plan.seed})"

    @property
    def own_arm(self) -> Arm:
        """What the arm's name stands for, at the dose that was chosen or is tried."""
        return with_dose(find_arm(self.arm), self.chosen)

    @property
    def training(self) -> Indices:
        """The images that the fold may train on: of an arm with a share of the real images, that share."""
        train, share = self.plan.train(self.fold), self.own_arm.real_share
        if share == 1 or self.inside:  # an inner split is one of the share
            return train
        labels, groups = np.array(self.plan.labels)[train], np.array(self.plan.groups)[train]
        return train[draw_share(labels, groups, share, self.seed)]

    @property
    def test(self) -> Indices:
        """The images that the fold predicts."""
        return self.plan.test(self.fold)

    @property
    def classifier(self) -> ClassifierSettings:
        """The settings of the arm's classifier, with what was chosen or is tried."""
        settings = settings_of_arm(self.own_arm, self.settings.classifier)
        watched = settings.test_curves and not self.inside
        return dataclasses.replace(settings, test_curves=watched, **of_classifier(self.chosen))

    @property
    def seed(self) -> int:
        """Seed of the fold's trainings."""
        if self.inside:  # the same for all candidates
            return derive_seed(self.plan.seed, f"inner fold {self.inside_name}")
        return derive_seed(self.plan.seed, "fold", self.fold)
