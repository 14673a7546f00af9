"""The command line in a process that a test may kill.

It is forked from a process that has imported torch and done nothing else: quick to start, and without the threads of
the test session, whose locks a fork would take over as they happen to be.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import time
from collections.abc import Callable, Mapping
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest

from program import sonoforge

CLEAN = multiprocessing.get_context("forkserver")
CLEAN.set_forkserver_preload(["torch", "program"])
FORK = multiprocessing.get_context("fork")  # of this very process, for what it has open
_NOTHING: Mapping[str, object] = {}


def start(log: Path, *arguments: object, returning: Mapping[str, object] = _NOTHING) -> ForkServerProcess:
    """Start ``sonoforge ARGUMENTS``; what it says on stderr is in the log at its end.

    Args:
        log: File to write.
        arguments: Of the command line.
        returning: What some functions, by their full names, shall return at once.
    """
    process = CLEAN.Process(target=_run, args=(log, arguments, dict(os.environ), dict(returning)))
    process.start()
    return process


def _run(log: Path, arguments: tuple[object, ...], environment: dict[str, str], returning: dict[str, object]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    with pytest.MonkeyPatch.context() as patch:
        shorten(patch, returning)
        done = sonoforge(*arguments)
    log.write_text(done.err)
    raise SystemExit(done.code)


def shorten(patch: pytest.MonkeyPatch, returning: Mapping[str, object]) -> None:
    """Let functions, by their full names, return something at once."""
    for name, value in returning.items():
        patch.setattr(name, lambda *_, value=value, **__: value)


def wait_until(condition: Callable[[], object], process: ForkServerProcess) -> None:
    """Wait for what a running process does; it is killed where that does not come, as pytest would wait for its end."""
    deadline = time.monotonic() + 120
    while not condition():
        assert process.is_alive(), f"it ended with exit code {process.exitcode}"
        if time.monotonic() > deadline:
            process.kill()
            pytest.fail("not within two minutes")
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
