"""Commands on the pages are understood."""

from __future__ import annotations

import itertools
import json
import shlex

import pytest

from places import CHECKOUT
from program import understood
from sonoforge.runtime.cli.options import options
from sonoforge.runtime.cli.verbs import config_class, find

DOCS = CHECKOUT / "training" / "docs"
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
    done = understood(*words)
    assert done.code == 0, done.err
    settings = json.loads(done.out)
    verb, _ = find(words)
    keys = {flag: key for key, option in options(config_class(verb)).items() for flag in option.flags}
    for flag, given in itertools.pairwise(words):
        if flag.startswith("--") and not given.startswith("--"):
            key, _, value = given.partition("=") if flag == "--set" else (keys[flag], "", given)
            found = settings[key]
            listed = found if isinstance(found, list) else [found]
            printed = [f"{one:g}" if isinstance(one, float) else str(one) for one in listed]
            assert value in printed or value == ",".join(printed) or value == json.dumps(found)
