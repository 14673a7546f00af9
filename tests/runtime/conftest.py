"""Bundles and scans that tests of the runtime share; tests only read them."""

from __future__ import annotations

from pathlib import Path

import pytest

import bundle_factory as factory
from once import made_once
from sonoforge.runtime import Classifier


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of the patch network."""
    return made_once(tmp_path_factory, "patches", factory.write_bundle)


@pytest.fixture(scope="session")
def classifier(bundle: Path) -> Classifier:
    """What answers with it."""
    return Classifier(bundle)
