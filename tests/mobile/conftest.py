"""One built app for the tests of the page."""

from __future__ import annotations

from pathlib import Path

import pytest

from browser import needs_archive
from program import succeed


@pytest.fixture(scope="session")
def app(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the shipped classifier's app; tests only read it."""
    needs_archive()
    folder = tmp_path_factory.mktemp("page") / "app"
    succeed("mobile", "build", "--out", folder)
    return folder
