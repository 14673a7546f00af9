"""The command line in a process that a test may kill.

It is forked from a process that has imported what trainings need and done nothing else: quick to start, and without the
threads of the test session, whose locks a fork would take over as they happen to be.
"""

from __future__ import annotations

import contextlib
import fnmatch
import functools
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Mapping
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from program import sonoforge

CLEAN = multiprocessing.get_context("forkserver")
CLEAN.set_forkserver_preload(["program", "sonoforge.training.jobs.generators"])
FORK = multiprocessing.get_context("fork")  # of this very process, for what it has open
_NOTHING: Mapping[str, object] = {}


class Written(NamedTuple):
    """When a process sends itself signals: once a file or folder whose path ends like this pattern is whole."""

    pattern: str
    numbers: tuple[int, ...] = (signal.SIGKILL,)


def start(
    log: Path, *arguments: object, returning: Mapping[str, object] = _NOTHING, signalled: Written | None = None
) -> ForkServerProcess:
    """Start ``sonoforge ARGUMENTS``; what it says on stderr is in the log at its end.

    Args:
        log: File to write.
        arguments: Of the command line.
        returning: What some functions, by their full names, shall return at once.
        signalled: When it is killed or interrupted: by itself, as a test that watches it may come too late.
    """
    process = CLEAN.Process(target=_run, args=(log, arguments, dict(os.environ), dict(returning), signalled))
    process.start()
    return process


def _run(
    log: Path,
    arguments: tuple[object, ...],
    environment: dict[str, str],
    returning: dict[str, object],
    signalled: Written | None,
) -> None:
    os.environ.clear()
    os.environ.update(environment)
    with pytest.MonkeyPatch.context() as patch:
        shorten(patch, returning)
        if signalled:
            for name in ("rename", "replace"):  # with which all that is written atomically gets its name
                patch.setattr(os, name, functools.partial(_move_and_signal, getattr(os, name), signalled))
        done = sonoforge(*arguments)
    log.write_text(done.err)
    raise SystemExit(done.code)


def _move_and_signal(move: Callable[..., None], when: Written, source: Any, target: Any, **options: Any) -> None:
    move(source, target, **options)
    if fnmatch.fnmatch(os.fspath(target), f"*{when.pattern}"):
        for number in when.numbers:
            os.kill(os.getpid(), number)


def shorten(patch: pytest.MonkeyPatch, returning: Mapping[str, object]) -> None:
    """Let functions, by their full names, return something at once."""
    for name, value in returning.items():
        patch.setattr(name, lambda *_, value=value, **__: value)


def wait_until(condition: Callable[[], object], process: ForkServerProcess) -> None:
    """Wait for what a running process does; it is killed where that does not come, as pytest would wait for its end."""
    deadline = time.monotonic() + 600
    while not condition():
        assert process.is_alive(), f"it ended with exit code {process.exitcode}"
        if time.monotonic() > deadline:
            process.kill()
            pytest.fail("not within ten minutes")
        time.sleep(0.002)


def descendants(pid: int | None) -> dict[int, str]:
    """Return the command of every process that a process has started, or one of these (Linux)."""
    parents: dict[int, int] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended
            parents[int(status.parent.name)] = int(status.read_text().rpartition(")")[2].split()[1])
    found = {child for child, parent in parents.items() if parent == pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    commands = {}
    for child in found:
        with contextlib.suppress(OSError):
            commands[child] = Path(f"/proc/{child}/cmdline").read_text().replace("\0", " ").strip()
    return commands
