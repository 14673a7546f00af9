"""Trainings that several tests look at."""

from __future__ import annotations

from pathlib import Path

import pytest

from gan_trainings import train


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished training with `gan_trainings.SETTINGS`; not to be changed."""
    folder = tmp_path_factory.mktemp("gan") / "finished"
    train(folder)
    return folder
