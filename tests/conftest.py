"""Fixtures that every test file may use."""

from __future__ import annotations

import gc
import logging
import os
import signal
from collections.abc import Iterator

# Two threads that wait for each other on a busy machine are far slower than one; set before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from small_run import SmallRun


# A shell lets what it starts in the background ignore Ctrl-C; programs that these tests start must heed it.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Whole or absent after a kill is tested; whole after a power cut is not, and waiting for disks takes minutes.
os.fsync = lambda _: None


def pytest_xdist_auto_num_workers() -> int:
    """One process more than there are cores: tests wait for programs that they start, and for the browser."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole commands first: a long test that one process begins last keeps the others waiting."""
    items.sort(key=lambda item: item.path.parts[-3:-1] != ("training", "verbs"))


def pytest_collection_finish() -> None:
    """Let garbage collection pass over what importing all test files has made: it stays to the end."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with real images and weights beside the checkout; the test is skipped where it is missing."""
    folder = Path(__file__).parents[2] / "shared"
    if not (folder / "data" / "BUSI").is_dir():
        pytest.skip(f"no real data at {folder}: this test needs it")
    return folder


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> SmallRun:
    """A whole `sonoforge run`, uninterrupted; tests only read it."""
    from once import made_once
    from small_run import make_small_run, read_small_run

    return read_small_run(made_once(tmp_path_factory, "small_run", make_small_run))


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One Chromium for the tests of all pages: Playwright runs once a process; skips where there is none."""
    from browser import chromium, needs_browser

    needs_browser()
    with chromium() as started:
        yield started


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """A verb that a test or its fixtures ran in this process sets up the loggers; each test has its own."""
    logger = logging.getLogger("sonoforge")
    logger.handlers[:], logger.level, logger.propagate = [], logging.NOTSET, True
    yield
    logger.handlers[:], logger.level, logger.propagate = [], logging.NOTSET, True
