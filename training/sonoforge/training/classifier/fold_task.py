"""What a comparison was asked, and one fold of it as a task for this process or another."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sonoforge.runtime.seeds import derive_seed
from sonoforge.training.classifier.arms import ARMS, settings_of_arm
from sonoforge.training.classifier.made_from import MadeFrom
from sonoforge.training.classifier.settings import ClassifierSettings
from sonoforge.training.classifier.weights import Backbone
from sonoforge.training.data.load import ImageSource
from sonoforge.training.data.split_plan import SplitPlan
from sonoforge.training.gan.options import GanSettings


@dataclass(frozen=True)
class ComparisonSettings:
    """Everything that determines a comparison, together with its images."""

    arms: tuple[str, ...]  # rows of `arms.ARMS`; the first is the baseline
    protocol: str  # `sealed`, `thesis` or `single`, see `splits.make_plan`
    folds: int
    seeds: tuple[int, ...]  # the whole comparison is repeated with each; the first is described in full
    budget: str  # name of the budget that the settings come from, for the tables
    weights: str  # initial weights, see `weights.load_backbone`
    classifier: ClassifierSettings  # settings shared by the arms
    generator: GanSettings  # settings shared by the generators
    device: str
    jobs: int | None  # folds run at a time; None: see `tasks.default_jobs`


def fold_path(folder: Path, arm: str, seed: int, fold: int) -> Path:
    """Where a run folder keeps the result of a fold."""
    return folder / "folds" / f"{arm}-seed{seed}-fold{fold:02d}.json"


@dataclass(frozen=True)
class FoldTask:
    """All that one fold needs, to be run in this process or another."""

    folder: Path
    source: ImageSource  # where the images come from
    plan: SplitPlan  # the split plan of the task's seed
    fold: int
    arm: str  # row of `arms.ARMS`
    settings: ComparisonSettings  # of the whole comparison
    backbone: Backbone  # initial weights
    made_from: MadeFrom  # what its result is kept for

    @property
    def path(self) -> Path:
        """The fold's result, which exists once the fold is done."""
        return fold_path(self.folder, self.arm, self.plan.seed, self.fold)

    @property
    def classifier(self) -> ClassifierSettings:
        """The settings of the arm's classifier."""
        return settings_of_arm(ARMS[self.arm], self.settings.classifier)

    @property
    def seed(self) -> int:
        """Seed of the fold's trainings."""
        return derive_seed(self.plan.seed, "fold", self.fold)
