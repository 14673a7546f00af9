"""Outputs of frozen networks for every image, computed once and shared by all folds through files.

For a fine-tuned network, the maps of its frozen blocks, one file for each augmented variant; for a comparator, the
features of its networks, one file each.
"""

import functools
import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sonoforge.runtime.atomic import replacing
from sonoforge.runtime.images.preprocessing import IMAGENET
from sonoforge.training.classifier.augmentation import VARIANTS
from sonoforge.training.classifier.network import build_network, frozen_features
from sonoforge.training.comparators.fitting import COMPARATORS, Comparator
from sonoforge.training.comparators.networks import extract_features, load_networks
from sonoforge.training.crossval.fold_task import FoldTask
from sonoforge.training.data.cache import ImageCache
from sonoforge.training.data.labelled_images import HALF, read_masks
from sonoforge.training.data.load import ImageSource, load_images
from sonoforge.training.devices import deterministic_kernels, find_device
from sonoforge.training.workers import Workers


@functools.lru_cache(maxsize=2)
def open_images(source: ImageSource) -> ImageCache:
    """Open a data set once a process, see `load_images`."""
    return load_images(source)


def feature_files(task: FoldTask) -> list[Path]:
    """Return the files that a fold reads; their names depend on the images and weights."""
    comparator, classifier, made = task.own_arm.comparator, task.classifier, task.made_from
    if comparator:
        own = COMPARATORS[comparator]
        inputs = _short_hash(f"{made.plan} {made.weights}")
        names = [f"{network}{'-masked' * own.masked}-{inputs}" for network in own.networks]
    elif classifier.cached_blocks:
        inputs = _short_hash(f"{task.plan.fingerprint} {made.weights}")
        kind = f"{classifier.augmentation}-{classifier.frozen_blocks}-{classifier.precision}"
        variants = range(VARIANTS[classifier.augmentation])
        names = [f"{kind}-seed{task.plan.seed}-{inputs}-{variant}" for variant in variants]
    else:
        names = []
    return [task.folder / "features" / f"{name}.npy" for name in names]


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def write_features(tasks: Sequence[FoldTask], workers: Workers) -> None:
    """Run the frozen networks over all images for every file that is missing."""
    missing = {
        path: (task, place) for task in tasks for place, path in enumerate(feature_files(task)) if not path.is_file()
    }
    list(workers.run(_write, list(missing.values())))


def _write(work: tuple[FoldTask, int]) -> None:
    task, place = work
    cache, device = open_images(task.settings.source), find_device(task.settings.device)
    with deterministic_kernels(device):
        if task.own_arm.comparator:
            comparator = COMPARATORS[task.own_arm.comparator]
            network = comparator.networks[place]
            weights = load_networks((network,), task.settings.comparator_weights)[network]
            features = extract_features(network, weights, _seen_pixels(comparator, cache, task.settings.source), device)
        else:
            net = build_network(len(cache.dataset.classes), task.backbone, 0, device)
            maps = frozen_features(net, cache.images, task.classifier, place, task.plan.seed, device)
            features = maps.cpu().numpy()
    path = feature_files(task)[place]
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, durable=False) as file:
        np.save(file, features)


def _seen_pixels(comparator: Comparator, cache: ImageCache, source: ImageSource) -> NDArray[np.uint8]:
    """Return the images (N, S, S, 3) at the comparators' size, black outside the lesions for those that see no more."""
    cache = cache.at(IMAGENET.size)
    if not comparator.masked:
        return np.asarray(cache.images)
    masks = read_masks(cache, np.arange(len(cache.dataset.items)), source.cache)
    seen: NDArray[np.uint8] = np.where(masks[..., None] >= HALF, cache.images, 0).astype(np.uint8)
    return seen


def read_maps(task: FoldTask, indices: NDArray[np.int64], device: torch.device) -> Tensor:
    """Read the maps (V, N, C, H, W) of the images at these indices."""
    files = [np.load(path, mmap_mode="r", allow_pickle=False) for path in feature_files(task)]
    maps = torch.empty((len(files), len(indices), *files[0].shape[1:]))
    for variant, file in enumerate(files):  # one at a time: they are gigabytes at 224 pixels with few frozen blocks
        maps[variant] = torch.from_numpy(file[indices])
    return maps.to(device)


def read_all_maps(task: FoldTask) -> Tensor | None:
    """Read the maps (V, N, C, H, W) of all images, on the CPU; None if some are missing, as after a resumed run."""
    if task.own_arm.comparator or not task.classifier.cached_blocks:
        return None
    if not all(path.is_file() for path in feature_files(task)):
        return None
    return read_maps(task, np.arange(len(task.plan.files)), torch.device("cpu"))


def remove_features(folder: Path) -> None:
    """Remove the feature files of a run folder."""
    shutil.rmtree(folder / "features", ignore_errors=True)
