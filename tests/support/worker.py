"""Reads files in a process that may crash on them, hang or fill the memory."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from processes import FORK
from sonoforge.runtime.errors import SonoforgeError

LONGEST_SECONDS = 5
"""Processor time for one file."""

_WAIT_SECONDS = 300  # where another program has its turn


class Outcome(NamedTuple):
    """What became of a file: ``answered``, ``refused`` in one line, ``raw`` exception, ``crashed`` or ``hung``."""

    kind: str
    said: str = ""
    peak_mb: float = 0.0  # of the process so far, beside what it had when it started


class Worker:
    """A forked process that is replaced when it ends."""

    def __init__(self, use: Callable[[bytes], object], memory: int) -> None:
        self._use, self._memory = use, memory
        self._process: Any = None
        self._start()

    def try_file(self, content: bytes) -> Outcome:
        """Do with the content of a file what this worker was made for."""
        try:
            self._ours.send_bytes(content)
            if self._ours.poll(_WAIT_SECONDS):
                found: Outcome = self._ours.recv()
                return found
            outcome = Outcome("hung", "waiting")
        except (EOFError, OSError):
            self._process.join()
            code = self._process.exitcode
            outcome = Outcome("hung" if code == -signal.SIGXCPU else "crashed", str(code))
        self.start_anew()
        return outcome

    def start_anew(self) -> None:
        """Go on in a new process."""
        self.close()
        self._start()

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()

    def _start(self) -> None:
        self._ours, theirs = FORK.Pipe()
        self._process = FORK.Process(target=_serve, args=(theirs, self._use, self._memory), daemon=True)
        self._process.start()
        theirs.close()


def _serve(connection: Connection, use: Callable[[bytes], object], memory: int) -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # to which libtiff speaks
    first = _peak_mb()
    while True:
        content = connection.recv_bytes()
        used = resource.getrusage(resource.RUSAGE_SELF)
        limit = int(used.ru_utime + used.ru_stime) + LONGEST_SECONDS + 1
        resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))
        try:
            use(content)
            kind, said = "answered", ""
        except SonoforgeError as error:
            kind, said = "refused", str(error)
        except BaseException as error:  # what must not happen is what is counted
            kind, said = "raw", f"{type(error).__name__}: {error}"
        connection.send(Outcome(kind, said, _peak_mb() - first))


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
