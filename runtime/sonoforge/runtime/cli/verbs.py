"""Read the table of verbs, ``verbs.json``: where each one is, what it needs, and its line in ``sonoforge help``."""

from __future__ import annotations

import functools
import importlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sonoforge.runtime.errors import SonoforgeError, did_you_mean, install_extra


class Instead(NamedTuple):
    """Another module that does a verb's work if a setting is given, its extra, and how to do without them."""

    setting: str
    module: str
    extra: str
    otherwise: str = ""


class Verb(NamedTuple):
    """A verb: its line in the help, its package, the module of its settings, and the extra that it needs."""

    summary: str
    package: str
    settings: str = "settings"
    extra: str = ""
    other_names: str = ""  # by which a user of this field would look for it
    instead: Sequence[Instead] = ()
    named: str = ""  # the module with its ``main``, where that has another name

    def module(self, name: str) -> str:
        """Return the module, after ``sonoforge.``, with the verb's ``main``."""
        return f"{self.package}.verbs.{self.named or name.replace(' ', '_')}"


def _read_sections() -> dict[str, dict[str, Verb]]:
    table = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
    for row in (row for rows in table.values() for row in rows.values()):
        row["instead"] = [Instead(**other) for other in row.get("instead", ())]
    return {title: {name: Verb(**row) for name, row in rows.items()} for title, rows in table.items()}


SECTIONS = _read_sections()
VERBS = {name: verb for section in SECTIONS.values() for name, verb in section.items()}


def import_for(what: str, module: str, extra: str, otherwise: str = "") -> Any:
    """Import what a verb needs, or say which extra to install."""
    try:
        return importlib.import_module(f"sonoforge.{module}")
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("sonoforge"):
            raise
        remedy = install_extra(extra) + otherwise
        raise SonoforgeError(f"sonoforge {what}: {error.name} is not installed; run {remedy}") from error


def config_class(name: str) -> Any:
    """Import the class of a verb's settings, which needs only the base install."""
    verb = VERBS[name]
    module = import_for(name, f"{verb.package}.{verb.settings}", verb.extra)
    return getattr(module, name.title().replace(" ", "") + "Config")


def examples(name: str) -> tuple[list[str], list[str]]:
    """Return the lines of a verb's examples, and of its notes, from ``examples.txt``."""
    own, _, notes = _read_texts("examples.txt")[name].strip().partition("\n\n")
    return own.splitlines(), notes.splitlines()


def results(name: str) -> list[str]:
    """Return the lines that explain a verb's results, from ``results.txt``; none where their names say enough."""
    return _read_texts("results.txt").get(name, "").strip().splitlines()


@functools.cache
def _read_texts(file: str) -> dict[str, str]:
    text = Path(__file__).with_name(file).read_text(encoding="utf-8")
    _, *parts = re.split(r"^== (.+) ==\n", text, flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def subverbs(noun: str) -> dict[str, Verb]:
    """Return the verbs that begin with a word such as ``gan``."""
    return {name: verb for name, verb in VERBS.items() if name.startswith(noun + " ")}


def find(words: Sequence[str]) -> tuple[str, list[str]]:
    """Return the verb that a command line begins with, and the rest of it."""
    for length in (2, 1):
        name = " ".join(words[:length])
        if name in VERBS:
            return name, list(words[length:])
    first = words[0]
    below = {name.split()[1]: name for name in subverbs(first)}
    typed = words[1] if below and len(words) > 1 else first
    known = {other: name for name, verb in VERBS.items() for other in verb.other_names.split()}
    if typed in known:
        hint = f" (did you mean {known[typed]}?)"
    elif below:
        raise SonoforgeError(
            f"sonoforge {first} needs one of {', '.join(below)}, not {typed!r}{did_you_mean(typed, [*below])}"
        )
    else:
        hint = did_you_mean(first, [*VERBS])
    raise SonoforgeError(f"sonoforge: unknown verb {' '.join(words[: 1 + bool(below)])!r}{hint}; see sonoforge help")
