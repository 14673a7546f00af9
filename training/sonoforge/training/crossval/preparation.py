"""Open, plan and check all that a comparison needs, before its run folder exists.

Nothing is written but decoded images and what is kept beside them. What is missing or does not fit is refused here:
initial weights, masks, classes with too few groups, generators that cannot be trained, a full disk.
"""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sonoforge.runtime.errors import require
from sonoforge.training.classifier.initial_weights import Backbone, choose_weights, load_backbone
from sonoforge.training.classifier.network import map_bytes
from sonoforge.training.classifier.scan_views import check_learnable
from sonoforge.training.copies.matches import Match
from sonoforge.training.crossval.arms import find_arm
from sonoforge.training.crossval.balancing import generator_bytes
from sonoforge.training.crossval.fold_task import FoldTask, origins
from sonoforge.training.crossval.folds import (
    check_generators,
    feature_files,
    generator_job,
    needed_generators,
    seen_by_generators,
)
from sonoforge.training.crossval.nested_choice import NestedFolds, nested_folds
from sonoforge.training.crossval.settings import ComparisonSettings
from sonoforge.training.data.cache import ImageCache
from sonoforge.training.data.labelled_images import LabelledImages, read_masks
from sonoforge.training.data.second_opinion import find_second_views
from sonoforge.training.data.split_plan import SplitPlan
from sonoforge.training.data.splits import make_plan
from sonoforge.training.gan.start_from import refuse_seen_by_start
from sonoforge.training.statistics.results import SEALED
from sonoforge.training.statistics.smallest_gain import describe_gain
from sonoforge.training.statistics.wording import counted
from sonoforge.training.workers import check_reachable

if TYPE_CHECKING:  # of Python 3.11
    from typing_extensions import Self

NOWHERE = Path(os.devnull)
"""The run folder of tasks until there is one; no file can exist in it."""
_COMPARATOR_BYTES = 4 * 4096  # an image's largest features, see `comparators.networks.extract_features`


@dataclass(frozen=True, eq=False)
class Prepared:
    """A comparison that can start: everything it needs is open and checked."""

    settings: ComparisonSettings  # with the arms that suit the images
    cache: ImageCache
    backbone: Backbone  # initial weights
    views: list[Match]  # see `find_second_views`
    plans: list[SplitPlan]  # one for each seed
    tasks: list[FoldTask]
    nested: NestedFolds  # inner folds of the tasks without a result

    def placed(self, folder: Path, device: str) -> Self:
        """Return the same comparison with the run folder and the device that it runs in."""
        settings = dataclasses.replace(self.settings, device=device)

        def place(task: FoldTask) -> FoldTask:
            return dataclasses.replace(task, folder=folder, settings=settings)

        nested = NestedFolds(
            {key: place(task) for key, task in self.nested.outer.items()},
            {key: [[*map(place, folds)] for folds in own] for key, own in self.nested.inner.items()},
        )
        return dataclasses.replace(self, settings=settings, tasks=[*map(place, self.tasks)], nested=nested)

    @property
    def missing(self) -> list[FoldTask]:
        """The folds, outer and inner, that have no result yet."""
        return [task for task in (*self.tasks, *self.nested.tasks) if not task.path.is_file()]

    @property
    def disk(self) -> Counter[str]:
        """About how many bytes are still to be written, by what they are; refuse generators that cannot be trained."""
        maps = {path: task for task in self.missing for path in feature_files(task) if not path.is_file()}
        each = [
            _COMPARATOR_BYTES if own.own_arm.comparator else map_bytes(self.settings.network, own.classifier)
            for own in maps.values()
        ]
        features = sum(each) * len(self.cache.hashes)
        needed, labels = needed_generators(self.missing), self.cache.dataset.labels
        if not needed:
            return Counter(features=features)
        # The generator with the fewest images stands for all: it is the first that could not be trained.
        task, label = min(needed, key=lambda work: (labels[seen_by_generators(work[0])] == work[1]).sum())
        images = LabelledImages.of_set(self.cache, seen_by_generators(task), np.array(task.plan.groups))
        generators = len(needed) * generator_bytes(images, label, generator_job(task))
        return Counter(features=features, generators=generators)

    def describe(self) -> list[str]:
        """Say what would be trained, from what, and which gain that can show, a line each."""
        settings, missing, dataset, plan = self.settings, self.missing, self.cache.dataset, self.plans[0]
        generators, inner = len(needed_generators(missing)), sum(bool(task.inside) for task in missing)
        seeds, groups = ", ".join(map(str, settings.seeds)), len(set(plan.groups))
        parts = [
            f"{len(missing) - inner} of {counted(len(self.tasks), 'classifier')} ({', '.join(settings.arms)}; "
            f"{counted(plan.folds, 'fold')}, {settings.protocol}; seeds {seeds})",
            *[f"{inner} on inner folds"] * bool(inner),
            *[f"{counted(generators, 'generator')} ({settings.generator.recipe})"] * bool(generators),
            *[f"the final model ({settings.final_arm})"] * bool(settings.final_arm),
        ]
        counts = zip(dataset.classes, self.cache.class_counts, strict=True)
        return [
            f"to train: {', '.join(parts)}",
            f"initial weights: {self.backbone.source}",
            f"images: {', '.join(f'{name} {count}' for name, count in counts)}; {counted(groups, 'group')}",
            describe_gain(len({plan.groups[image] for image in plan.tested}), len(plan.tested))["says"],
        ]


def prepare(
    cache: ImageCache, settings: ComparisonSettings, folder: Path = NOWHERE, like: Prepared | None = None
) -> Prepared:
    """Prepare the comparison of these images, see the top of this module.

    Args:
        cache: The images, as the classifier sees them.
        settings: See `ComparisonSettings.for_images`.
        folder: Of an earlier run to continue, whose finished folds are not run again.
        like: Another comparison of the same images and initial weights.

    Raises:
        SonoforgeError: Something is missing or does not fit.
        GateError: The generators would start from a run that was trained on these images.
    """
    if settings.protocol in SEALED:
        refuse_seen_by_start(settings.generator.start_from, cache, settings.source.cache)
    backbone = like.backbone if like else _open_backbone(cache, settings)
    views = like.views if like else find_second_views(cache)
    together = [(view.first, view.second) for view in views]
    plans = [make_plan(cache, settings.protocol, settings.folds, seed, together) for seed in settings.seeds]
    made = origins(plans, settings, backbone.digest)
    tasks = [
        FoldTask(folder, plan, fold, arm, settings, backbone, made[plan.seed, arm])
        for plan in plans
        for arm in settings.arms
        for fold in range(plan.folds)
    ]
    nested = nested_folds(tasks)
    check_generators([*tasks, *nested.tasks], cache)
    prepared = Prepared(settings, cache, backbone, views, plans, tasks, nested)
    if prepared.missing:
        check_reachable(settings.cluster)
    return prepared


def _open_backbone(cache: ImageCache, settings: ComparisonSettings) -> Backbone:
    """Open the initial weights; refuse images without the masks or classes that the arms learn from."""
    for arm in map(find_arm, settings.arms):
        if arm.comparator and arm.comparator.segmented:
            require(f"--arms {arm.name}", "segment", "monai")
            read_masks(cache, np.arange(len(cache.images)), settings.source.cache)
    if not settings.fine_tuned:
        return Backbone({}, "none: nothing is fine-tuned", "")
    check_learnable(cache, settings.classifier)
    weights = choose_weights(settings.weights, cache, settings.network)
    return load_backbone(weights, cache, settings.network)
