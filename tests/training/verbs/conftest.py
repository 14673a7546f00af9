"""Fixtures of the tests of training's verbs."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from evaluations import Sets, read_sets, write_sets
from gan_trainings import write_pictures
from once import made_once
from sonoforge.training.copies.generated import find_copies
from sonoforge.training.evaluation import measure


@pytest.fixture(scope="module", autouse=True)
def _surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One cache for all, a working folder of each file's own, and few planted copies an evaluation."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SONOFORGE_CACHE", str(made_once(tmp_path_factory, "cache of the verbs", lambda folder: None)))
        patch.chdir(tmp_path_factory.mktemp("work"))
        patch.setattr(measure, "find_copies", partial(find_copies, planted=2))
        yield


@pytest.fixture(scope="session")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Sets:
    """The images that evaluations compare; a space in their path."""
    return read_sets(made_once(tmp_path_factory, "evaluated sets", write_sets))


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of 12 noisy pictures; not to be changed."""
    return made_once(tmp_path_factory, "pictures", lambda folder: write_pictures(folder, 12))


@pytest.fixture(scope="session")
def more_pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of 48."""
    return made_once(tmp_path_factory, "more pictures", lambda folder: write_pictures(folder, 48))
