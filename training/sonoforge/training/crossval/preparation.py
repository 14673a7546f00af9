"""Open, plan and check all that a comparison needs, before its run folder exists.

Nothing is written but decoded images and what is kept beside them. What is missing or does not fit is refused here:
initial weights, masks, classes with too few groups, generators that cannot be trained, a full disk.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sonoforge.training.classifier.backbone import Network
from sonoforge.training.classifier.initial_weights import Backbone, choose_weights, load_backbone
from sonoforge.training.classifier.network import count_bytes, map_bytes
from sonoforge.training.classifier.scan_views import check_learnable
from sonoforge.training.classifier.settings import ClassifierSettings
from sonoforge.training.comparators.fitting import COMPARATORS
from sonoforge.training.copies.matches import Match
from sonoforge.training.crossval.arms import find_arm
from sonoforge.training.crossval.balancing import GeneratorJob, generator_name, prepare_generator
from sonoforge.training.crossval.fold_task import FoldTask, MadeFrom, origins
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
from sonoforge.training.devices import find_device
from sonoforge.training.gan.checkpoint import KEPT
from sonoforge.training.gan.minutes import quietly
from sonoforge.training.gan.networks import outline_networks
from sonoforge.training.gan.start_from import refuse_seen_by_start
from sonoforge.training.gan.training import Pretrained, Training, open_pretrained
from sonoforge.training.run_folder import is_finished
from sonoforge.training.statistics.results import SEALED
from sonoforge.training.statistics.wording import counted
from sonoforge.training.workers import check_reachable, default_jobs

if TYPE_CHECKING:  # of Python 3.11
    from typing_extensions import Self

NOWHERE = Path(os.devnull)
"""The run folder of tasks until there is one; no file can exist in it."""
_COMPARATOR_BYTES = 4 * 4096  # an image's largest features, see `comparators.networks.extract_features`
_HASH_BYTES = 70  # of one image that a fold read, in its file


@dataclass(frozen=True, eq=False)
class Prepared:
    """A comparison that can start: everything it needs is open and checked."""

    settings: ComparisonSettings  # with the arms that suit the images
    cache: ImageCache
    backbone: Backbone  # initial weights
    views: list[Match]  # pairs of images that may show one lesion twice, so that they stay on one side
    plans: list[SplitPlan]  # one for each seed
    made: dict[tuple[int, str], MadeFrom]  # by seed and arm: what the classifiers are made from
    tasks: list[FoldTask]
    nested: NestedFolds  # inner folds of the tasks without a result
    disk: dict[str, int]  # bytes still to be written, by what they are

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
    def trained(self) -> str:
        """What would be trained, in words."""
        settings, missing = self.settings, self.missing
        outer, generators = [task for task in missing if not task.inside], len(needed_generators(missing))
        seeds = ", ".join(map(str, settings.seeds))
        parts = [
            f"{len(outer)} of {counted(len(self.tasks), 'classifier')} ({', '.join(settings.arms)}; "
            f"{counted(self.plans[0].folds, 'fold')}, {settings.protocol}; seed {seeds})"
        ]
        if len(outer) < len(missing):
            parts.append(f"{len(missing) - len(outer)} on inner folds")
        if generators:
            parts.append(f"{counted(generators, 'generator')} ({settings.generator.recipe})")
        return ", ".join([*parts, *[f"the final model ({settings.final_arm})"] * bool(settings.final_arm)])

    @property
    def material(self) -> list[str]:
        """What it would be trained from, in words."""
        dataset, groups = self.cache.dataset, len(set(self.plans[0].groups))
        counts = zip(dataset.classes, self.cache.class_counts, strict=True)
        classes = ", ".join(f"{name} {count}" for name, count in counts)
        return [
            f"initial weights: {self.backbone.source}",
            f"images: {len(dataset.items)} in {counted(groups, 'group')} of {dataset.name}: {classes}",
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
    check_masks(cache, settings)
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
    prepared = Prepared(settings, cache, backbone, views, plans, made, tasks, nested, {})
    if prepared.missing:
        check_reachable(settings.cluster)
    return dataclasses.replace(prepared, disk=_bytes_to_write(prepared))


def _open_backbone(cache: ImageCache, settings: ComparisonSettings) -> Backbone:
    if not settings.fine_tuned:
        return Backbone({}, "none: nothing is fine-tuned", "")
    weights = choose_weights(settings.weights, cache, settings.network)
    return load_backbone(weights, cache, settings.network)


def check_masks(cache: ImageCache, settings: ComparisonSettings) -> None:
    """Refuse images without the masks, or the classes, that a classifier or a comparator learns from."""
    if settings.fine_tuned:
        check_learnable(cache, settings.classifier)
    if any(arm.comparator and COMPARATORS[arm.comparator].masked for arm in map(find_arm, settings.arms)):
        read_masks(cache, np.arange(len(cache.images)), settings.source.cache)


def _bytes_to_write(prepared: Prepared) -> dict[str, int]:
    """Estimate what the folds without a result write at most at one time, in bytes; refuse untrainable generators."""
    missing, settings, images = prepared.missing, prepared.settings, len(prepared.cache.hashes)
    network = settings.network
    maps = {path: task for task in missing for path in feature_files(task) if not path.is_file()}
    sizes = (_COMPARATOR_BYTES if t.own_arm.comparator else map_bytes(network, t.classifier) for t in maps.values())
    jobs = settings.jobs or default_jobs(find_device(settings.device))
    networks = min(jobs, len(missing)) + bool(settings.final_arm)
    return {
        "features": sum(sizes) * images,
        "generators": _generator_bytes(missing, prepared.cache),
        "checkpoints": classifier_bytes(network, settings.classifier) * networks,
        "results": len(missing) * images * _HASH_BYTES,
    }


def classifier_bytes(network: Network, settings: ClassifierSettings) -> int:
    """Estimate the checkpoints of one classifier's training: each network with two moments of its optimiser."""
    return 3 * count_bytes(network) * settings.ensemble_size * (1 + settings.teachers)


def _generator_bytes(tasks: Sequence[FoldTask], cache: ImageCache) -> int:
    """Prepare the smallest training of each class's generator, and estimate the checkpoints of all without results."""
    smallest: dict[str, tuple[int, FoldTask, int]] = {}
    count = 0
    for task, label in needed_generators(tasks):
        name = generator_name(cache.dataset.classes[label], task.settings.generator)
        count += not is_finished(generator_job(task).folder / name)
        learned = int((cache.dataset.labels[seen_by_generators(task)] == label).sum())
        if name not in smallest or learned < smallest[name][0]:
            smallest[name] = learned, task, label
    if not count:
        return 0
    pretrained = open_pretrained(tasks[0].settings.generator, tasks[0].settings.device)
    sizes = []
    for _, task, label in smallest.values():
        images = LabelledImages.of_set(cache, seen_by_generators(task), np.array(task.plan.groups))
        sizes += outline_generators(images, [label], generator_job(task), pretrained)
    return count * max(sizes)


def outline_generators(
    images: LabelledImages, labels: Sequence[int], job: GeneratorJob, pretrained: Pretrained
) -> list[int]:
    """Refuse generators that cannot be trained; return the bytes of each one's checkpoints, see `generator_bytes`."""
    with quietly("sonoforge.training"):  # the training itself says it
        return [generator_bytes(prepare_generator(images, label, job, pretrained)) for label in labels]


def generator_bytes(training: Training) -> int:
    """Estimate the checkpoints kept of a generator's training: two networks, an average, the optimisers' moments."""
    networks = outline_networks(training.recipe, training.options, training.seen)
    sizes = [sum(own.numel() for own in network.parameters() if own.requires_grad) for network in networks]
    return 4 * KEPT * (4 * sizes[0] + 3 * sizes[1])
