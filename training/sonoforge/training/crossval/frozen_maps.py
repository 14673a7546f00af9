"""Maps of the frozen blocks: computed once for every image and variant, and shared by all folds through files."""

from __future__ import annotations

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
from sonoforge.training.classifier.augmentation import VARIANTS
from sonoforge.training.classifier.network import build_network, frozen_features
from sonoforge.training.crossval.fold_task import FoldTask
from sonoforge.training.data.cache import ImageCache
from sonoforge.training.data.load import ImageSource, load_images
from sonoforge.training.devices import deterministic_kernels, find_device
from sonoforge.training.tasks.workers import Workers


@functools.lru_cache(maxsize=2)
def open_images(source: ImageSource) -> ImageCache:
    """Open a data set once a process, see `load_images`."""
    return load_images(source)


def map_files(task: FoldTask) -> list[Path]:
    """One file for each augmented variant, under a name that other images or weights would change."""
    augmentation, blocks = task.classifier.augmentation, task.classifier.frozen_blocks
    inputs = hashlib.sha256(f"{task.plan.fingerprint} {task.made_from.weights}".encode()).hexdigest()[:16]
    name = f"{augmentation}-{blocks}-{task.classifier.precision}-seed{task.plan.seed}-{inputs}"
    return [task.folder / "features" / f"{name}-{variant}.npy" for variant in range(VARIANTS[augmentation])]


def write_maps(tasks: Sequence[FoldTask], workers: Workers) -> None:
    """Run the frozen blocks over all images for every file that some task reads and that does not exist yet."""
    missing = {
        path: (task, variant)
        for task in tasks
        if task.classifier.cached_blocks
        for variant, path in enumerate(map_files(task))
        if not path.is_file()
    }
    list(workers.run(_write_variant, list(missing.values())))


def _write_variant(work: tuple[FoldTask, int]) -> None:
    task, variant = work
    cache, device = open_images(task.source), find_device(task.settings.device)
    with deterministic_kernels(device):
        net = build_network(len(cache.dataset.classes), task.backbone, 0, device)
        maps = frozen_features(net, cache.images, task.classifier, variant, task.plan.seed, device)
    with replacing(map_files(task)[variant], durable=False) as file:
        np.save(file, maps.cpu().numpy())


def read_maps(task: FoldTask, indices: NDArray[np.int64], device: torch.device) -> Tensor:
    """Maps (V, N, C, H, W) of the images at these indices."""
    files = [np.load(path, mmap_mode="r", allow_pickle=False) for path in map_files(task)]
    maps = torch.empty((len(files), len(indices), *files[0].shape[1:]))
    for variant, file in enumerate(files):  # one at a time: they are gigabytes at 224 pixels with few frozen blocks
        maps[variant] = torch.from_numpy(file[indices])
    return maps.to(device)


def read_all_maps(task: FoldTask) -> Tensor | None:
    """Maps (V, N, C, H, W) of all images, on the CPU; None where some are not kept, as after a resumed run."""
    if not task.classifier.cached_blocks or not all(path.is_file() for path in map_files(task)):
        return None
    return read_maps(task, np.arange(len(task.plan.files)), torch.device("cpu"))


def remove_maps(folder: Path) -> None:
    """Free the disk when all folds of a run folder are done."""
    shutil.rmtree(folder / "features", ignore_errors=True)
