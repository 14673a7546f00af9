"""Fixtures of the tests of training."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sonoforge.training.data.cache import ImageCache, open_cache
from sonoforge.training.data.datasets import read_dataset


@pytest.fixture(scope="session")
def busi(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> ImageCache:
    """BUSI at 64 pixels, decoded once for all test processes, its near-duplicates found once in each."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    return open_cache(read_dataset(shared / "data" / "BUSI"), 64, folder / "busi")
