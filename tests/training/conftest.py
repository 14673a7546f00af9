"""Fixtures of the tests of training."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from sonoforge.models.torchvision_import import import_torchvision
from sonoforge.training.data.cache import ImageCache, open_cache
from sonoforge.training.data.datasets import read_dataset


@pytest.fixture(scope="session")
def busi(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> ImageCache:
    """BUSI at 64 pixels, decoded once for all test processes, its near-duplicates found once in each."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    return open_cache(read_dataset(shared / "data" / "BUSI"), 64, folder / "busi")


@pytest.fixture(scope="session")
def squeezenet_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tensors of a SqueezeNet with random weights, a feature network that needs no download."""
    path = tmp_path_factory.mktemp("weights") / "squeezenet.safetensors"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        save_file(import_torchvision().models.squeezenet1_1(weights=None).state_dict(), path)
    return path
