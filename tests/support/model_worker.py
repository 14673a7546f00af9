"""Loads and runs model files in a process that may crash on them, hang or fill the memory."""

from __future__ import annotations

import resource
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import numpy as np

from processes import FORK
from sonoforge.runtime.bundle.onnx_graph import check_graph
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.inference.onnx_session import load_session, run_session

LONGEST_SECONDS = 5.0


class Outcome(NamedTuple):
    """What became of a file: ``answered``, ``refused`` in one line, ``raw`` exception, ``crashed`` or ``hung``."""

    kind: str
    said: str = ""
    peak_mb: float = 0.0


class ModelWorker:
    """A forked process that is replaced when it ends."""

    def __init__(self, shape: tuple[int, ...], memory: int) -> None:
        self._shape, self._memory = shape, memory
        self._process: Any = None
        self._start()

    def try_model(self, content: bytes) -> Outcome:
        """Look into a file, load it and run it on zeros."""
        try:
            self._ours.send_bytes(content)
            if self._ours.poll(LONGEST_SECONDS):
                found: Outcome = self._ours.recv()
                return found
            outcome = Outcome("hung")
        except (EOFError, OSError):
            outcome = Outcome("crashed", str(self._process.exitcode))
        self.close()
        self._start()
        return outcome

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()

    def _start(self) -> None:
        self._ours, theirs = FORK.Pipe()
        self._process = FORK.Process(target=_serve, args=(theirs, self._shape, self._memory), daemon=True)
        self._process.start()
        theirs.close()


def _serve(connection: Connection, shape: tuple[int, ...], memory: int) -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    while True:
        content = connection.recv_bytes()
        try:
            check_graph(content, "model.onnx")
            run_session(load_session(content, "model.onnx"), {"input": np.zeros(shape, np.float32)}, "model.onnx")
            kind, said = "answered", ""
        except SonoforgeError as error:
            kind, said = "refused", str(error)
        except BaseException as error:  # what must not happen is what is counted
            kind, said = "raw", f"{type(error).__name__}: {error}"
        connection.send(Outcome(kind, said, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000))
