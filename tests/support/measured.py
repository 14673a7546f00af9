"""Commands in processes of their own, with what each took: one small server forks a process for each.

Forks of the tests' own process would count what pytest and torch hold.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from types import TracebackType
from typing import NamedTuple

SLOWEST = 20.0  # seconds after which a command is killed


class Measured(NamedTuple):
    """Exit code, minus the signal if one ended it; what it printed; and, its children counted, what it took."""

    code: int
    out: str
    err: str
    cpu_seconds: float
    peak_mb: float
    seconds: float


class Commands:
    """Runs ``sonoforge ARGUMENTS``, each in a fork of a process that has imported only what ``classify`` needs."""

    def __enter__(self) -> Commands:
        self._server = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def run(self, *arguments: object) -> Measured:
        """Run one command."""
        assert self._server.stdin and self._server.stdout
        self._server.stdin.write(json.dumps([str(argument) for argument in arguments]) + "\n")
        self._server.stdin.flush()
        return Measured(*json.loads(self._server.stdout.readline()))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server.stdin
        self._server.stdin.close()
        self._server.wait()


def _child(arguments: list[str], to: int) -> None:
    from sonoforge.runtime.cli import main

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main.run(arguments)
    with os.fdopen(to, "w") as pipe:
        json.dump([code, out.getvalue()[:5000], err.getvalue()[:5000]], pipe)


def _serve() -> None:
    import numpy  # noqa: F401
    import PIL.Image  # noqa: F401

    from sonoforge.runtime.bundle import reader  # noqa: F401
    from sonoforge.runtime.verbs import classify, verify  # noqa: F401

    for line in sys.stdin:
        ours, theirs = os.pipe()
        started = time.monotonic()
        process = os.fork()
        if process == 0:
            os.close(ours)
            signal.alarm(int(SLOWEST))
            status = 1
            with contextlib.suppress(BaseException):
                _child(json.loads(line), theirs)
                status = 0
            os._exit(status)
        os.close(theirs)
        with os.fdopen(ours) as pipe:
            said = pipe.read()
        _, status, usage = os.wait4(process, 0)
        code, out, err = (
            json.loads(said) if said else [os.waitstatus_to_exitcode(status), "", "it ended without a word"]
        )
        taken = (usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1000, time.monotonic() - started)
        print(json.dumps([code, out, err, *taken]), flush=True)


if __name__ == "__main__":
    _serve()
