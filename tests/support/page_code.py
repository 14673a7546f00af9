"""The code that pages show, and a machine on which nobody has run any."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from places import CHECKOUT
from sonoforge.training import own_code

DOCS = CHECKOUT / "training" / "docs"


def blocks(page: Path, kind: str) -> list[str]:
    """The page's blocks of code of one kind."""
    return re.findall(rf"```{kind}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def place_with(source: str, name: str, factory: pytest.TempPathFactory) -> Path:
    """A folder with a file of own code, whose hash no other test's has."""
    folder = factory.mktemp("own")
    (folder / name).write_text(f"{source}\n# {folder}\n")
    return folder


def as_new_machine(place: Path, patch: pytest.MonkeyPatch) -> None:
    """Work in a folder on a machine that has allowed only what was named there."""
    patch.setattr(own_code, "default_folder", lambda: place / "cache")
    patch.delenv(own_code.TRUST, raising=False)
    patch.chdir(place)
