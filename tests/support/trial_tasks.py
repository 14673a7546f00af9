"""Tasks that workers of other processes import by name."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import torch

from sonoforge.runtime.errors import GateError


def who_and_how(task: int) -> tuple[int, int, int]:
    """Return the task, the number of threads, and the process."""
    return task, torch.get_num_threads(), os.getpid()


def doubles(task: torch.Tensor) -> tuple[bool, torch.Tensor]:
    """Return whether the task came in shared memory, and twice its values."""
    return task.is_shared(), 2 * task


def refuses(task: int) -> int:
    """Raise an ordinary error of the program in the second task."""
    if task == 1:
        raise GateError("sealed: planted")
    return task


def ends_its_process(path: Path) -> Path:
    """Note that the task was begun, and die as by ``kill -9``."""
    with path.open("a") as file:
        file.write("begun")
    os.kill(os.getpid(), signal.SIGKILL)
    return path


def ends_its_process_once(path: Path) -> Path:
    """Do so at the first attempt of the task called ``a`` alone."""
    if path.name == "a" and not path.exists():
        return ends_its_process(path)
    with path.open("a") as file:
        file.write("begun")
    return path
