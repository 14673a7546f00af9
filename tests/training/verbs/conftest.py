"""Fixtures of the tests of training's verbs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from evaluations import Sets, write_sets


@pytest.fixture(scope="module", autouse=True)
def _surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache and a working folder of each file's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SONOFORGE_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.chdir(tmp_path_factory.mktemp("work"))
        yield


@pytest.fixture(scope="session")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Sets:
    """The images that evaluations compare; a space in their path."""
    return write_sets(tmp_path_factory.mktemp("evaluated sets"))
