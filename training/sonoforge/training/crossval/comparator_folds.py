"""One fold of a comparator: features of frozen networks, shared by all folds; the rest fitted inside the fold."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.atomic import replacing
from sonoforge.runtime.images.preprocessing import IMAGENET
from sonoforge.training.comparators.fitting import TrainingFold, fit_comparator
from sonoforge.training.comparators.networks import NetworkWeights, extract_features, load_networks
from sonoforge.training.comparators.table import COMPARATORS, Comparator
from sonoforge.training.crossval.arms import find_arm
from sonoforge.training.crossval.fold_result import CLASSIFIER, FoldResult, StageReads, write_fold
from sonoforge.training.crossval.fold_task import FoldTask
from sonoforge.training.crossval.frozen_maps import open_images
from sonoforge.training.crossval.settings import ComparisonSettings
from sonoforge.training.data.cache import ImageCache
from sonoforge.training.data.guard import check_sealed
from sonoforge.training.data.masks import HALF, read_masks
from sonoforge.training.devices import deterministic_kernels, find_device
from sonoforge.training.run_folder import log_to
from sonoforge.training.tasks.workers import Workers


def digests_of_arms(settings: ComparisonSettings, backbone: str) -> dict[str, str]:
    """Return what tells the weights that each arm starts from from all others: of a comparator, of its networks.

    Args:
        settings: For the arms, and the weights that were given.
        backbone: `weights.Backbone.digest`, of all other arms.

    Raises:
        SonoforgeError: Weights that are not to be had, or not of these networks.
    """
    found = {}
    for arm in settings.arms:
        comparator = find_arm(arm).comparator
        networks = load_networks(COMPARATORS[comparator].networks, settings.comparator_weights) if comparator else {}
        found[arm] = ", ".join(weights.digest for weights in networks.values()) if comparator else backbone
    return found


def _comparator(task: FoldTask) -> Comparator:
    return COMPARATORS[task.own_arm.comparator]


def _file(task: FoldTask, network: str) -> Path:
    """Where the features of all images are kept, under a name that other images or weights would change."""
    own = hashlib.sha256(f"{task.made_from.plan} {task.made_from.weights}".encode()).hexdigest()[:16]
    seen = "-masked" if _comparator(task).masked else ""
    return task.folder / "features" / f"{network}{seen}-{own}.npy"


def feature_files(task: FoldTask) -> list[Path]:
    """Return the features that a comparator's fold reads."""
    return [_file(task, network) for network in _comparator(task).networks]


def write_comparator_features(tasks: Sequence[FoldTask], workers: Workers) -> None:
    """Run each network over all images for every file that some comparator reads and that does not exist yet."""
    missing = {
        path: (task, network)
        for task in tasks
        if task.own_arm.comparator
        for network in _comparator(task).networks
        if not (path := _file(task, network)).is_file()
    }
    list(workers.run(_write_features, list(missing.values())))


def _write_features(work: tuple[FoldTask, str]) -> None:
    task, network = work
    cache, device = open_images(task.source), find_device(task.settings.device)
    weights: NetworkWeights = load_networks((network,), task.settings.comparator_weights)[network]
    with deterministic_kernels(device):
        features = extract_features(network, weights, _seen_pixels(_comparator(task), cache, task), device)
    path = _file(task, network)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, durable=False) as file:
        np.save(file, features)


def _seen_pixels(comparator: Comparator, cache: ImageCache, task: FoldTask) -> NDArray[np.uint8]:
    """The images (N, S, S, 3), black outside their masks where the comparator sees lesions alone.

    Their side is that of the comparators' networks, whatever our own reads.
    """
    cache = cache.at(IMAGENET.size)
    if not comparator.masked:
        return np.asarray(cache.images)
    masks = read_masks(cache, np.arange(len(cache.dataset.items)), task.source.cache)
    seen: NDArray[np.uint8] = np.where(masks[..., None] >= HALF, cache.images, 0).astype(np.uint8)
    return seen


def run_comparator_fold(task: FoldTask) -> FoldResult:
    """Fit a comparator without one fold, predict that fold, write and return the result.

    It has no embedding of its own, so nothing that trust judges by, and no learning curve.

    Raises:
        GateError: Under ``sealed``, it would read an image that gives away a test image.
    """
    started = time.perf_counter()
    plan, cache = task.plan, open_images(task.source)
    train, test = task.training, plan.test(task.fold)
    check_sealed(plan, task.fold, CLASSIFIER, train, cache)
    comparator = _comparator(task)
    features = np.concatenate([np.load(path, allow_pickle=False) for path in feature_files(task)], axis=1)
    labels = cache.dataset.labels
    with log_to(task.folder):
        fold = TrainingFold(features[train], labels[train], np.array(plan.groups)[train])
        fitted = fit_comparator(comparator, fold, task.seed)
    probabilities = fitted.predict(features[test])
    result = FoldResult(
        arm=task.arm,
        protocol=plan.protocol,
        seed=plan.seed,
        fold=task.fold,
        files=[plan.files[i] for i in test],
        probabilities=probabilities.tolist(),
        accuracy=float((probabilities.argmax(axis=1) == labels[test]).mean()),
        distances=[],
        train_accuracy=float((fitted.predict(features[train]).argmax(axis=1) == labels[train]).mean()),
        history=[],
        added=0,
        seconds=time.perf_counter() - started,
        reads=(StageReads(CLASSIFIER, tuple(cache.hashes[i] for i in train)),),
        made_from=task.made_from,
    )
    write_fold(task.path, result)
    return result
