"""What a comparison was asked, and one fold of it as a task for this process or another."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.seeds import derive_seed
from sonoforge.training.classifier.arm_names import Arm, file_stem, find_arm
from sonoforge.training.classifier.arms import settings_of_arm
from sonoforge.training.classifier.made_from import MadeFrom
from sonoforge.training.classifier.settings import ClassifierSettings
from sonoforge.training.classifier.weights import Backbone
from sonoforge.training.data.load import ImageSource
from sonoforge.training.data.shares import draw_share
from sonoforge.training.data.split_plan import SplitPlan
from sonoforge.training.gan.options import GanSettings

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class ComparisonSettings:
    """Everything that determines a comparison, together with its images."""

    arms: tuple[str, ...]  # names, see `arm_names`; the first is the baseline
    protocol: str  # `sealed`, `thesis` or `single`, see `splits.make_plan`
    folds: int
    seeds: tuple[int, ...]  # the whole comparison is repeated with each; the first is described in full
    budget: str  # name of the budget that the settings come from, for the tables
    weights: str  # initial weights, see `weights.load_backbone`
    classifier: ClassifierSettings  # settings shared by the arms
    generator: GanSettings  # settings shared by the generators
    device: str
    jobs: int | None  # folds run at a time; None: see `tasks.workers.WorkerSettings`
    comparator_weights: tuple[str, ...] = ()  # see `comparators.networks.load_networks`
    cluster: str = ""  # where folds are run, see `tasks.workers.WorkerSettings`


def fold_path(folder: Path, arm: str, seed: int, fold: int) -> Path:
    """Where a run folder keeps the result of a fold."""
    return folder / "folds" / f"{file_stem(arm)}-seed{seed}-fold{fold:02d}.json"


@dataclass(frozen=True)
class FoldTask:
    """All that one fold needs, to be run in this process or another."""

    folder: Path
    source: ImageSource  # where the images come from
    plan: SplitPlan  # the split plan of the task's seed
    fold: int
    arm: str  # name, see `arm_names`
    settings: ComparisonSettings  # of the whole comparison
    backbone: Backbone  # initial weights
    made_from: MadeFrom  # what its result is kept for

    @property
    def path(self) -> Path:
        """The fold's result, which exists once the fold is done."""
        return fold_path(self.folder, self.arm, self.plan.seed, self.fold)

    @property
    def own_arm(self) -> Arm:
        """What the arm's name stands for."""
        return find_arm(self.arm)

    @property
    def training(self) -> Indices:
        """The images that the fold may train on: of an arm with a share of the real images, that share."""
        train, share = self.plan.train(self.fold), self.own_arm.real_share
        if share == 1:
            return train
        labels, groups = np.array(self.plan.labels)[train], np.array(self.plan.groups)[train]
        return train[draw_share(labels, groups, share, self.seed)]

    @property
    def classifier(self) -> ClassifierSettings:
        """The settings of the arm's classifier."""
        return settings_of_arm(self.own_arm, self.settings.classifier)

    @property
    def seed(self) -> int:
        """Seed of the fold's trainings."""
        return derive_seed(self.plan.seed, "fold", self.fold)
