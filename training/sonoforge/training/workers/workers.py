"""The one seam through which independent tasks are submitted and their results collected, wherever they run.

A task computes with one thread, whatever the number of workers, so its result does not depend on it.  Its files lie in
the run folder.  The task of a worker that dies is done again; an error that a task raises is raised here.
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
"""Each process holds its own network and optimiser; more rarely pay for ten folds."""
MOST_DEATHS = 3
"""Workers that may die over one task before it is given up: the cause is the task itself, or a lack of memory."""

# The files and folders of the run folder that a task reads; on a machine that cannot see them, they are sent along.
Reads = Callable[[Any], Sequence[Path]]


class Workers(Protocol):
    """Those who do tasks."""

    slots: int  # tasks that are done at a time
    device: str  # that a task computes on, see `devices.find_device`

    def prepare(self, function: Callable[[Any], object], argument: object) -> None:
        """Let each worker that is already there call a module-level function, before there is a task."""
        del function, argument  # nothing is won by it in this process, nor on a cluster, which starts its workers later

    def run(
        self, function: Callable[[Task], Result], tasks: Iterable[Task | None], reads: Reads | None = None
    ) -> Iterator[Result]:
        """Do the tasks and yield their results as they come, in any order.

        Args:
            function: A module-level function; other processes must be able to import it.
            tasks: Its arguments; for other processes, they and the results must be picklable.  Each is taken when a
                worker is free for it, after the results so far have been used: so a generator can make the next task
                of these.  None in place of one: there is nothing to do until the next result, so ask again then.
            reads: What a task reads from the run folder; None: nothing.

        Raises:
            Exception: Whatever a task raises; tasks that have not started are dropped.
            SonoforgeError: Over one task, `MOST_DEATHS` workers died.
        """


@dataclass(frozen=True)
class WorkerSettings:
    """Which workers are wanted."""

    device: str
    jobs: int | None = None  # tasks at a time; None: see `default_jobs`, on a cluster as many as fit
    cluster: str = ""  # empty: this machine's processes; `local` or an address: see `ray_cluster`


def default_jobs(device: torch.device) -> int:
    """One process on a GPU, which runs one task at a time anyway; one a core on a CPU."""
    if device.type != "cpu":
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MOST_JOBS)


def died_again(deaths: int, error: Exception) -> int:
    """Count one more death of a worker over a task.

    Raises:
        SonoforgeError: With this one they are too many.
    """
    if deaths + 1 < MOST_DEATHS:
        return deaths + 1
    raise SonoforgeError(
        f"{deaths + 1} workers died over one task, most likely for lack of memory (see the system's log); free some, "
        "or let fewer tasks run at a time, and give --resume: finished tasks are kept"
    ) from error
