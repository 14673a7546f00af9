"""Fixtures of the tests of training's verbs."""

from __future__ import annotations

import pytest

from evaluations import Sets, write_sets


@pytest.fixture(scope="session")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Sets:
    """The images that evaluations compare; a space in their path."""
    return write_sets(tmp_path_factory.mktemp("evaluated sets"))
