"""One built app and one browser for the tests of the page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from browser import chromium, needs_archive, needs_browser
from program import succeed

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="session")
def app(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the shipped classifier's app; tests only read it."""
    needs_archive()
    folder = tmp_path_factory.mktemp("page") / "app"
    succeed("mobile", "build", "--out", folder)
    return folder


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    needs_browser()
    with chromium() as started:
        yield started
