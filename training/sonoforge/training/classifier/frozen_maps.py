"""Maps of the frozen blocks: computed once for every image and variant, and shared by all folds through files."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sonoforge.runtime import atomic
from sonoforge.training.classifier.augmentation import VARIANTS
from sonoforge.training.classifier.network import build_network, frozen_features
from sonoforge.training.classifier.settings import ClassifierSettings
from sonoforge.training.classifier.weights import Backbone
from sonoforge.training.data.cache import ImageCache
from sonoforge.training.data.load import ImageSource, load_images
from sonoforge.training.devices import deterministic_kernels, find_device
from sonoforge.training.tasks import run_tasks


@functools.lru_cache(maxsize=2)
def open_images(source: ImageSource) -> ImageCache:
    """Open a data set once a process, see `load_images`."""
    return load_images(source)


@dataclass(frozen=True)
class FrozenMaps:
    """The maps of one data set for one augmentation, in files.

    Attributes:
        folder: Run folder.
        source: The images.
        settings: Frozen blocks and augmentation.
        seed: Of the augmentation.
        device: Where to compute.
        backbone: Weights of the blocks.
    """

    folder: Path
    source: ImageSource
    settings: ClassifierSettings
    seed: int
    device: str
    backbone: Backbone

    @property
    def paths(self) -> list[Path]:
        """One file for each augmented variant."""
        name = f"{self.settings.augmentation}-{self.settings.frozen_blocks}-seed{self.seed}"
        variants = range(VARIANTS[self.settings.augmentation])
        return [self.folder / "features" / f"{name}-{variant}.npy" for variant in variants]


def write_maps(wanted: Iterable[FrozenMaps], jobs: int) -> None:
    """Run the frozen blocks over all images for every file that does not exist yet."""
    missing = {
        path: (maps, variant)
        for maps in wanted
        if maps.settings.frozen_blocks
        for variant, path in enumerate(maps.paths)
        if not path.is_file()
    }
    list(run_tasks(_write_variant, list(missing.values()), jobs))


def _write_variant(work: tuple[FrozenMaps, int]) -> None:
    maps, variant = work
    cache, device = open_images(maps.source), find_device(maps.device)
    with deterministic_kernels(device):
        net = build_network(len(cache.dataset.classes), maps.backbone, 0, device)
        computed = frozen_features(net, cache.images, maps.settings, variant, maps.seed, device)
    with atomic.replacing(maps.paths[variant], durable=False) as file:
        np.save(file, computed.cpu().numpy())


def read_maps(maps: FrozenMaps, indices: NDArray[np.int64], device: torch.device) -> Tensor:
    """Maps (V, N, C, H, W) of the images at these indices."""
    variants = [np.load(path, mmap_mode="r", allow_pickle=False)[indices] for path in maps.paths]
    return torch.from_numpy(np.stack(variants)).to(device)


def remove_maps(folder: Path) -> None:
    """Free the disk when all folds of a run folder are done."""
    shutil.rmtree(folder / "features", ignore_errors=True)
