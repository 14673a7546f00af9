"""What a comparison was asked, and one fold of it as a task for this process or another."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sonoforge.runtime.seeds import derive_seed
from sonoforge.training.classifier.arms import ARMS, settings_of_arm
from sonoforge.training.classifier.settings import ClassifierSettings
from sonoforge.training.classifier.weights import Backbone
from sonoforge.training.data.load import ImageSource
from sonoforge.training.data.split_plan import SplitPlan
from sonoforge.training.gan.settings import GanSettings


@dataclass(frozen=True)
class ComparisonSettings:
    """Everything that determines a comparison, together with its images.

    Attributes:
        arms: Rows of `arms.ARMS`; the first is the baseline.
        protocol: ``sealed`` or ``thesis``, see `splits.make_plan`.
        folds: Number of folds.
        seeds: The whole comparison is repeated with each; the first is described in full.
        budget: Name of the budget that the settings come from, for the tables.
        weights: Initial weights, see `weights.load_backbone`.
        classifier: Settings shared by the arms.
        generator: Settings shared by the generators.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        jobs: Folds run at a time; None: see `tasks.default_jobs`.
    """

    arms: tuple[str, ...]
    protocol: str
    folds: int
    seeds: tuple[int, ...]
    budget: str
    weights: str
    classifier: ClassifierSettings
    generator: GanSettings
    device: str
    jobs: int | None


@dataclass(frozen=True)
class FoldTask:
    """All that one fold needs, to be run in this process or another.

    Attributes:
        folder: Run folder.
        source: Where the images come from.
        plan: The split plan of the task's seed.
        fold: Which of its folds.
        arm: Row of `arms.ARMS`.
        settings: Of the whole comparison.
        backbone: Initial weights.
    """

    folder: Path
    source: ImageSource
    plan: SplitPlan
    fold: int
    arm: str
    settings: ComparisonSettings
    backbone: Backbone

    @property
    def path(self) -> Path:
        """The fold's result, which exists once the fold is done."""
        return self.folder / "folds" / f"{self.arm}-seed{self.plan.seed}-fold{self.fold:02d}.json"

    @property
    def classifier(self) -> ClassifierSettings:
        """The settings of the arm's classifier."""
        return settings_of_arm(ARMS[self.arm], self.settings.classifier)

    @property
    def seed(self) -> int:
        """Seed of the fold's trainings."""
        return derive_seed(self.plan.seed, "fold", self.fold)
