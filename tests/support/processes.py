"""The command line in a process that a test may kill: forked, so that nothing has to be imported again."""

from __future__ import annotations

import contextlib
import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.context import ForkProcess
from pathlib import Path

from program import sonoforge

FORK = multiprocessing.get_context("fork")


def start(log: Path, *arguments: object) -> ForkProcess:
    """Start ``sonoforge ARGUMENTS``; what it says on stderr is in the log at its end."""
    process = FORK.Process(target=_run, args=(log, arguments))
    process.start()
    return process


def _run(log: Path, arguments: tuple[object, ...]) -> None:
    done = sonoforge(*arguments)
    log.write_text(done.err)
    raise SystemExit(done.code)


def wait_until(condition: Callable[[], object], process: ForkProcess) -> None:
    """Wait for what a running process does."""
    deadline = time.monotonic() + 120
    while not condition():
        assert process.is_alive(), f"it ended with exit code {process.exitcode}"
        assert time.monotonic() < deadline, "not within two minutes"
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
