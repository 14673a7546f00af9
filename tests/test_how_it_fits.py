"""The page that draws the project names every room and every key of both manifests; nothing lies beside the rooms."""

from __future__ import annotations

import re
import subprocess

import pytest

from places import CHECKOUT
from sonoforge.runtime.bundle import reader

PAGE = CHECKOUT / "training" / "docs" / "how-it-fits.md"
TEXT = PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("package", ["runtime", "training", "export"])
def test_every_room_is_drawn(package: str) -> None:
    drawn = TEXT[TEXT.index("```") : TEXT.index("```", TEXT.index("```") + 3)]
    rooms = {path.parent.name for path in (CHECKOUT / package / "sonoforge" / package).glob("*/__init__.py")}
    assert rooms <= set(re.findall(r"(\w+)/", drawn))


@pytest.mark.parametrize("task", reader.TASKS)
def test_every_key_of_a_manifest_is_listed(task: str) -> None:
    kind = reader.manifest_kind(task)
    listed = set(re.findall(r"`([\w.]+)`", TEXT[TEXT.index("Keys of `manifest.json`") :]))
    assert {*reader._KEYS, *kind.keys} <= listed
    assert set(kind.required) <= set(re.findall(r"`([\w.]+)`", TEXT))


def test_it_stays_short() -> None:
    sections = TEXT.split("\n## ")
    assert len(sections) <= 5 and max(len(section.splitlines()) for section in sections) <= 60


def test_nothing_else_lies_at_the_top() -> None:
    if not (CHECKOUT / ".git").exists():
        pytest.skip("needs a checkout of git")
    done = subprocess.run(["git", "ls-files"], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    top = {path.partition("/")[0] for path in done.stdout.splitlines()}
    fixed = {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md"}
    packages = {"training", "export", "runtime", "mobile", "tests", "models"}
    assert {name for name in top if not name.startswith(".")} == fixed | packages
