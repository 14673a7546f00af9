"""One rendered page of each kind, shared by the tests that only read it."""

from __future__ import annotations

import pytest

from report_factory import Written, make_run, written


@pytest.fixture(scope="session")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Written:
    return written(make_run(tmp_path_factory.mktemp("sealed") / "00001-run-invented", with_collapse=True))


@pytest.fixture(scope="session")
def thesis(tmp_path_factory: pytest.TempPathFactory) -> Written:
    arms = (("real", 0.6), ("gan", 0.95), ("duplicates", 0.6))
    return written(make_run(tmp_path_factory.mktemp("thesis") / "run", protocol="thesis", arms=arms, seeds=2))


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """One arm, two classes."""
    folder = tmp_path_factory.mktemp("small") / "run"
    return written(make_run(folder, ("one", "two"), (16, 20), arms=(("real", 0.8),), folds=2))
