"""Fixtures of the tests of training."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from once import made_once
from sonoforge.models.torchvision_import import import_torchvision
from sonoforge.training.data.cache import ImageCache, open_cache
from sonoforge.training.data.datasets import read_dataset


@pytest.fixture(scope="session")
def busi(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> ImageCache:
    """BUSI at 64 pixels, decoded and searched for near-duplicates once for all test processes."""
    dataset = read_dataset(shared / "data" / "BUSI")
    folder = made_once(tmp_path_factory, "busi", lambda folder: open_cache(dataset, 64, folder).duplicates)
    return open_cache(dataset, 64, folder)


@pytest.fixture(scope="session")
def squeezenet_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tensors of a SqueezeNet with random weights, a feature network that needs no download."""
    path = tmp_path_factory.mktemp("weights") / "squeezenet.safetensors"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        save_file(import_torchvision().models.squeezenet1_1(weights=None).state_dict(), path)
    return path
