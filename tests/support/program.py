"""The command line, called in the tests' own process: as a user types it, without the seconds that a new one takes."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

from sonoforge.runtime.cli import main


class Finished(NamedTuple):
    """Exit code; what was printed to stdout and stderr; and the answer as text, which ``--json`` does not print."""

    code: int
    out: str
    err: str
    said: str

    @property
    def json(self) -> Any:
        """The answer of ``--json``."""
        return json.loads(self.out)

    @property
    def widest(self) -> int:
        """Characters of the longest line of the answer as text, but for lines with a path, which cannot be broken."""
        return max(len(line) for line in self.said.splitlines() if "/" not in line)


def rows_of(table: Path) -> list[dict[str, str]]:
    """The rows of a CSV file by the names of their columns."""
    with table.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def words(line: str) -> list[str]:
    """Split part of a command line without quotes."""
    return line.split()


def sonoforge(*arguments: object) -> Finished:
    """Run ``sonoforge ARGUMENTS`` here and now."""
    out, err, said = io.StringIO(), io.StringIO(), io.StringIO()
    answers, recorder = logging.getLogger("sonoforge.answer"), logging.StreamHandler(said)
    answers.addHandler(recorder)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main.run([str(argument) for argument in arguments])
    finally:
        answers.removeHandler(recorder)
    return Finished(code, out.getvalue(), err.getvalue(), said.getvalue())


def understood(*arguments: object) -> Finished:
    """Run ``sonoforge ARGUMENTS --dry-run`` without the checks of images, weights and this machine."""
    with mock.patch.object(main, "_check"):
        return sonoforge(*arguments, "--dry-run")


def succeed(*arguments: object) -> Finished:
    """Run a command that must succeed, with its answer as JSON."""
    done = sonoforge(*arguments, "--json")
    assert done.code == 0, done.err
    return done


def refused(*arguments: object) -> str:
    """The one line with which a command is refused."""
    done = sonoforge(*arguments, "--quiet")
    assert done.code == 2, done
    assert done.out == ""
    (line,) = done.err.splitlines()
    assert line.startswith("sonoforge: error: ")
    assert "unexpected" not in line
    return line


_BASE = """
import sys
from importlib.machinery import PathFinder

allowed = {"sonoforge", "numpy", "onnxruntime", "PIL", "packaging", "pydicom", "flatbuffers", "google"}
allowed |= {*sys.stdlib_module_names}


class Only:
    find_distributions = PathFinder.find_distributions

    @staticmethod
    def find_spec(name, path=None, target=None):
        top = name.split(".")[0]
        return PathFinder.find_spec(name, path, target) if top in allowed or top.startswith("_") else None


sys.meta_path[:] = [Only if finder is PathFinder else finder for finder in sys.meta_path]
from sonoforge.runtime.cli.main import main

main()
"""


def base_install(*arguments: object) -> str:
    """Run ``sonoforge ARGUMENTS`` in a process that finds the packages of the base install alone; return its stdout."""
    command = [sys.executable, "-c", _BASE, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
