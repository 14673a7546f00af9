"""Commands on pages that show how to give them are commands of the program; other tests run their like to the end."""

from __future__ import annotations

import itertools
import json
import shlex

import pytest

from places import CHECKOUT
from program import sonoforge

DOCS = CHECKOUT / "training" / "docs"
ALIASES = {"class": "class_name", "from": "from_tables"}  # shorter names of flags, and the setting of each
COMMANDS = [
    line.strip()
    for page in (
        "many-machines.md",
        "several-collections.md",
        "../studies/other-scanners/README.md",
        "../studies/race/README.md",
    )
    for line in (DOCS / page).read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    if line.startswith("sonoforge ")
]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_understood(command: str) -> None:
    words = shlex.split(command, comments=True)[1:]
    done = sonoforge(*words, "--dry-run")
    assert done.code == 0, done.err
    settings = json.loads(done.out)
    for flag, value in itertools.pairwise(words):
        key = flag.removeprefix("--").replace("-", "_")
        if flag.startswith("--") and not value.startswith("--"):
            found = settings[ALIASES.get(key, key)]
            listed = found if isinstance(found, list) else [found]
            given = [f"{one:g}" if isinstance(one, float) else str(one) for one in listed]
            assert value in given or value == ",".join(given)
