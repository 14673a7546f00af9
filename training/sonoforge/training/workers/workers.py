"""The interface to workers, which run independent tasks in this process, in others or on a cluster.

A task computes with one thread, so its result does not depend on the number of workers.  Its files lie in the run
folder.  The task of a worker that dies is done again; an error in a task is raised here.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch

from sonoforge.runtime.errors import SonoforgeError

Task = TypeVar("Task")
Result = TypeVar("Result")

MOST_JOBS = 16
"""More processes, each with its own network and optimiser, rarely pay for ten folds."""
MOST_DEATHS = 3
"""Workers that may die over one task before it is given up: the task itself must be the cause."""

Reads = Callable[[Any], Sequence[Path]]
"""Files and folders of the run folder that a task reads; they are sent to machines that cannot see them."""


class Workers(Protocol):
    """Workers that do tasks."""

    slots: int  # parallel tasks
    device: str  # of a task, see `devices.find_device`

    def prepare(self, function: Callable[[Any], object], argument: object) -> None:
        """Let each worker process call a module-level function, before there is a task."""
        del function, argument  # no use in this process, nor on a cluster, which starts its workers later

    def run(
        self, function: Callable[[Task], Result], tasks: Iterable[Task | None], reads: Reads | None = None
    ) -> Iterator[Result]:
        """Do the tasks and yield their results as they come, in any order.

        Args:
            function: A module-level function that other processes can import.
            tasks: Its arguments; they and the results must be picklable.  Each is taken when a worker is free, after
                the results so far have been used, so a generator can base the next task on them.  None instead of a
                task means that there is none before the next result.
            reads: What a task reads from the run folder; None: nothing.

        Raises:
            Exception: Whatever a task raises; tasks that have not started are dropped.
            SonoforgeError: `MOST_DEATHS` workers died over one task.
        """


@dataclass(frozen=True)
class WorkerSettings:
    """The workers that a user asks for."""

    device: str
    jobs: int | None = None  # parallel tasks; None: `default_jobs`, on a cluster as many as fit
    cluster: str = ""  # empty: processes of this machine; `local` or an address: see `ray_cluster`


def default_jobs(device: torch.device) -> int:
    """Return one process for a GPU, which runs one task at a time anyway; one for each core of a CPU."""
    if device.type != "cpu":
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MOST_JOBS)


def died_again(deaths: int, error: Exception) -> int:
    """Count one more death of a worker over a task; SonoforgeError if there are too many."""
    if deaths + 1 < MOST_DEATHS:
        return deaths + 1
    raise SonoforgeError(
        f"{deaths + 1} workers died over one task, most likely for lack of memory (see the system's log); free some, "
        "or run fewer tasks at a time, and give --resume: finished tasks are kept"
    ) from error
