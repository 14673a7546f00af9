"""The commands of the page on many machines are commands of the program; slow tests run their like to the end."""

from __future__ import annotations

import json
import shlex

import pytest

from places import CHECKOUT
from program import sonoforge

PAGE = CHECKOUT / "training" / "docs" / "many-machines.md"
COMMANDS = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("sonoforge ")]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_understood(command: str) -> None:
    words = shlex.split(command, comments=True)[1:]
    done = sonoforge(*words, "--dry-run")
    assert done.code == 0, done.err
    settings = json.loads(done.out)
    for flag, value in zip(words[1::2], words[2::2], strict=False):
        assert str(settings[flag.removeprefix("--")]) == value
