"""One fold of one arm: train without the fold, predict it, and write down all that was read."""

from __future__ import annotations

import functools
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sonoforge.runtime import atomic
from sonoforge.runtime.inference.trust import distances
from sonoforge.training.classifier.arms import (
    ARMS,
    Extra,
    fill_classes,
    missing_images,
    settings_of_arm,
    train_arm,
    train_generators,
)
from sonoforge.training.classifier.fine_tuning import (
    VARIANTS,
    ClassifierSettings,
    answer,
    build_network,
    frozen_features,
    pixel_views,
)
from sonoforge.training.classifier.weights import Backbone
from sonoforge.training.data.cache import ImageCache
from sonoforge.training.data.load import ImageSource, load_images
from sonoforge.training.data.pixels import write_grid
from sonoforge.training.data.splits import SplitPlan, check_sealed
from sonoforge.training.devices import deterministic_kernels, open_fabric
from sonoforge.training.gan.settings import GanSettings
from sonoforge.training.run_folder import log_to
from sonoforge.training.tasks import run_tasks

Indices = NDArray[np.int64]


class FoldTask(NamedTuple):
    """All that one fold needs, to be run in this process or another."""

    folder: Path
    source: ImageSource
    plan: SplitPlan
    fold: int
    arm: str
    classifier: ClassifierSettings
    gan: GanSettings
    gan_features: str
    device: str
    backbone: Backbone

    @property
    def path(self) -> Path:
        """The fold's result; it is there when the fold is done."""
        return self.folder / "folds" / f"{self.arm}-seed{self.plan.seed}-fold{self.fold:02d}.json"

    @property
    def settings(self) -> ClassifierSettings:
        """The classifier settings of the task's arm."""
        return settings_of_arm(ARMS[self.arm], self.classifier)


@functools.lru_cache(maxsize=2)
def _images(source: ImageSource) -> ImageCache:
    return load_images(source)


def run_fold(task: FoldTask) -> dict[str, Any]:
    """Train one arm without one fold, predict that fold, write and return the result.

    Returns:
        ``arm``, ``protocol``, ``seed``, ``fold``; ``files`` and their ``probabilities`` (N, C); ``accuracy``;
        ``distances`` from the training embeddings; ``train_accuracy``; ``history``, the learning curve; ``added``,
        number of images added; ``seconds``; ``reads``, the content hash of every image that each stage read.

    Raises:
        GateError: Under ``sealed``, a stage would read an image that gives away a test image.
    """
    started = time.perf_counter()
    plan, fold, settings = task.plan, task.fold, task.settings
    cache, device = _images(task.source), open_fabric(task.device).device
    classes, labels = cache.dataset.classes, cache.dataset.labels
    train, test = plan.train(fold), plan.test(fold)
    reads: dict[str, list[str]] = {"classifier": [cache.hashes[i] for i in train]}
    check_sealed(plan, fold, "classifier", train, cache)
    seed = plan.seed * 1009 + fold
    with log_to(task.folder), deterministic_kernels(device):
        extra = _added_images(task, cache, seed, reads)
        features = _read_features(task, train, device) if settings.frozen_blocks else None
        trained = train_arm(
            *(cache.images[train], labels[train], len(classes), features, extra),
            *(task.backbone, settings, seed, device),
        )
        answers = answer(
            trained.members, pixel_views(cache.images[test], settings.mirror), settings.frozen_blocks, device
        )
    result = {
        "arm": task.arm,
        "protocol": plan.protocol,
        "seed": plan.seed,
        "fold": fold,
        "files": [plan.files[i] for i in test],
        "probabilities": answers.probabilities.tolist(),
        "accuracy": float((answers.probabilities.argmax(axis=1) == labels[test]).mean()),
        "distances": distances(answers.embeddings, trained.reference).tolist(),
        "train_accuracy": trained.train_accuracy,
        "history": trained.history,
        "added": 0 if extra is None else len(extra.labels),
        "seconds": time.perf_counter() - started,
        "reads": reads,
    }
    atomic.write_json(task.path, result)
    return result


def _added_images(task: FoldTask, cache: ImageCache, seed: int, reads: dict[str, list[str]]) -> Extra | None:
    """Make the images that the arm adds to the training fold, and note what their makers read."""
    arm, classes, labels = ARMS[task.arm], cache.dataset.classes, cache.dataset.labels
    train = seen = task.plan.train(task.fold)
    if arm.fill == "gan":
        seen, seed = _seen_by_generators(task, cache, seed)
        for label in missing_images(labels[seen], len(classes)):
            own = seen[labels[seen] == label]
            check_sealed(task.plan, task.fold, f"generator of {classes[label]}", own, cache)
            reads[f"generator {classes[label]}"] = [cache.hashes[i] for i in own]
    extra = fill_classes(
        *(arm, cache.images[seen], labels[seen], classes, _generator_folder(task)),
        *(task.gan, seed, task.device, task.gan_features),
        groups=np.array(task.plan.groups)[seen],
    )
    if extra is not None and arm.fill == "gan":
        reads["generated"] = list(extra.hashes)
        if task.fold == 0:
            _write_samples(task.folder / "samples", cache, train, extra)
    return extra


def _seen_by_generators(task: FoldTask, cache: ImageCache, seed: int) -> tuple[Indices, int]:
    """Images that the generators may read, and their seed.

    As published (``thesis``), each is trained once on all images of its class, test folds included.
    """
    if task.plan.protocol == "thesis":
        return np.arange(len(cache.dataset.items)), task.plan.seed
    return task.plan.train(task.fold), seed


def _generator_folder(task: FoldTask) -> Path:
    name = "all" if task.plan.protocol == "thesis" else f"fold{task.fold:02d}"
    return task.folder / "gan" / f"seed{task.plan.seed}-{name}"


def train_shared_generators(tasks: Sequence[FoldTask]) -> None:
    """Train what several folds share before they run side by side: the ``thesis`` generators, one set a seed."""
    shared = {t.plan.seed: t for t in tasks if t.plan.protocol == "thesis" and ARMS[t.arm].fill == "gan"}
    list(run_tasks(_train_shared, list(shared.values()), 1))


def _train_shared(task: FoldTask) -> None:
    cache = _images(task.source)
    seen, gan_seed = _seen_by_generators(task, cache, 0)
    pixels, labels = cache.images[seen], cache.dataset.labels[seen]
    train_generators(
        *(pixels, labels, cache.dataset.classes, _generator_folder(task)),
        *(task.gan, gan_seed, task.device, task.gan_features),
        groups=np.array(task.plan.groups)[seen],
    )


def _write_samples(folder: Path, cache: ImageCache, train: Indices, extra: Extra) -> None:
    """Write a grid of 16 real training images and of 16 generated ones for each filled class."""
    folder.mkdir(parents=True, exist_ok=True)
    for label in np.unique(extra.labels):
        name = cache.dataset.classes[label]
        own = train[cache.dataset.labels[train] == label]
        write_grid(np.asarray(cache.images[own[:16]]), folder / f"real-{name}.png")
        write_grid(extra.pixels[extra.labels == label][:16], folder / f"generated-{name}.png")


# ---- maps of the frozen blocks: computed once, shared by all folds through files


def _feature_file(task: FoldTask, variant: int) -> Path:
    settings = task.settings
    name = f"{settings.augmentation}-{settings.frozen_blocks}-seed{task.plan.seed}-{variant}.npy"
    return task.folder / "features" / name


def write_features(tasks: Sequence[FoldTask], jobs: int) -> None:
    """Run the frozen blocks over all images for every augmented variant that some fold will read."""
    wanted = {
        _feature_file(task, variant): (task, variant)
        for task in tasks
        if task.settings.frozen_blocks
        for variant in range(VARIANTS[task.settings.augmentation])
    }
    list(run_tasks(_write_variant, [work for path, work in wanted.items() if not path.is_file()], jobs))


def _write_variant(work: tuple[FoldTask, int]) -> None:
    task, variant = work
    cache, device = _images(task.source), open_fabric(task.device).device
    with deterministic_kernels(device):
        net = build_network(len(cache.dataset.classes), task.backbone, 0, device)
        maps = frozen_features(net, cache.images, task.settings, variant, task.plan.seed, device)
    path = _feature_file(task, variant)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial.npy")
    np.save(partial, maps.cpu().numpy())
    partial.rename(path)


def _read_features(task: FoldTask, train: Indices, device: torch.device) -> Tensor:
    """Maps (V, N, C, H, W) of the fold's training images."""
    variants = range(VARIANTS[task.settings.augmentation])
    maps = [np.load(_feature_file(task, v), mmap_mode="r", allow_pickle=False)[train] for v in variants]
    return torch.from_numpy(np.stack(maps)).to(device)


def remove_features(folder: Path) -> None:
    """Free the disk when all folds are done."""
    shutil.rmtree(folder / "features", ignore_errors=True)
