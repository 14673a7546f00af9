"""Start the workers that a verb's settings ask for: this process, several, or a cluster."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch

from sonoforge.training.devices import find_device
from sonoforge.training.tasks.processes import open_processes
from sonoforge.training.tasks.ray_cluster import open_cluster
from sonoforge.training.tasks.workers import Reads, Result, Task, Workers, WorkerSettings, default_jobs, reads_nothing


@contextlib.contextmanager
def open_workers(settings: WorkerSettings, folder: Path, most: int) -> Iterator[Workers]:
    """Make workers for several calls of `Workers.run`.

    An error waits for the tasks that are under way; an interruption ends them in the middle, as a kill does.

    Args:
        settings: Which ones.
        folder: The run folder.
        most: Tasks that are left; more workers are of no use.

    Raises:
        SonoforgeError: There is no such cluster, or Ray is not installed.
    """
    if settings.cluster and most:
        with open_cluster(settings, folder, most) as cluster:
            yield cluster
        return
    device = find_device(settings.device)
    jobs = min(settings.jobs or default_jobs(device), most)
    if jobs <= 1:
        yield ThisProcess(str(device))
        return
    with open_processes(jobs, str(device)) as processes:
        yield processes


class ThisProcess:
    """The one worker of a serial run."""

    slots = 1

    def __init__(self, device: str) -> None:
        self.device = device

    def prepare(self, function: Callable[[Any], object], argument: object) -> None:
        """Nothing is won by it here."""

    def run(
        self, function: Callable[[Task], Result], tasks: Iterable[Task | None], reads: Reads = reads_nothing
    ) -> Iterator[Result]:
        """Do one task after the other; see `Workers`."""
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            for task in tasks:
                if task is None:
                    return  # no result is still to come
                yield function(task)
        finally:
            torch.set_num_threads(threads)
