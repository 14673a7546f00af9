"""The workers that a verb's settings ask for: this process, several processes, or a cluster.

A killed process costs only its own task, which is done again.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection
from pathlib import Path
from typing import Any

import torch

from sonoforge.training.devices import find_device, one_thread
from sonoforge.training.workers.ray_cluster import open_cluster
from sonoforge.training.workers.workers import Reads, Result, Task, Workers, WorkerSettings, default_jobs, died_again

log = logging.getLogger(__name__)


@contextlib.contextmanager
def open_workers(settings: WorkerSettings, folder: Path, most: int) -> Iterator[Workers]:
    """Open at most ``most`` workers for several calls of `Workers.run`.

    An error waits for running tasks; an interruption kills them.

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
    others = set(multiprocessing.active_children())
    processes = Processes(jobs, str(device))
    try:
        yield processes
    except KeyboardInterrupt:
        for worker in set(multiprocessing.active_children()) - others:
            worker.kill()
        raise
    finally:
        processes.close()


class ThisProcess(Workers):
    """The single worker of a serial run."""

    slots = 1

    def __init__(self, device: str) -> None:
        self.device = device

    def run(
        self, function: Callable[[Task], Result], tasks: Iterable[Task | None], reads: Reads | None = None
    ) -> Iterator[Result]:
        """Do one task after the other, see `Workers`."""
        with one_thread():
            for task in tasks:
                if task is None:
                    return  # no result is still to come
                yield function(task)


class Processes(Workers):
    """Processes, each started when first needed, in a pool of its own: a pool breaks when one of its processes dies."""

    def __init__(self, jobs: int, device: str) -> None:
        self.slots, self.device = jobs, device
        self._pools = [_pool() for _ in range(jobs)]

    def prepare(self, function: Callable[[Any], object], argument: object) -> None:
        """Start all processes, see `workers.Workers`."""
        for pool in self._pools:
            pool.submit(function, argument)

    def run(
        self, function: Callable[[Task], Result], tasks: Iterable[Task | None], reads: Reads | None = None
    ) -> Iterator[Result]:
        """Do the tasks side by side, see `workers.Workers`."""
        new, again = iter(tasks), deque[tuple[Task, int]]()
        free = list(range(self.slots))
        running: dict[Future[Result], tuple[Task, int, int]] = {}
        while True:
            while free:
                task, deaths = again.popleft() if again else (next(new, None), 0)
                if task is None:
                    break
                slot = free.pop()
                running[self._submit(slot, function, task)] = task, deaths, slot
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                task, deaths, slot = running.pop(future)
                free.append(slot)
                try:
                    result = future.result()
                except BrokenProcessPool as error:
                    again.appendleft((task, died_again(deaths, error)))
                    log.warning("a worker process died; its task is done again")
                else:
                    yield result

    def _submit(self, slot: int, function: Callable[[Task], Result], task: Task) -> Future[Result]:
        try:
            return self._pools[slot].submit(function, task)
        except BrokenProcessPool:  # its process died
            self._pools[slot] = _pool()
            return self._pools[slot].submit(function, task)

    def close(self) -> None:
        """Drop tasks that have not started, and wait for the others."""
        for pool in self._pools:
            pool.shutdown(wait=False, cancel_futures=True)
        for pool in self._pools:
            pool.shutdown()


def _pool() -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")  # a forked torch may hang in its thread pool
    return ProcessPoolExecutor(1, mp_context=context, initializer=_start_worker)


def _start_worker() -> None:
    torch.set_num_threads(1)
    # A terminal or scheduler may signal the whole group; the parent handles it, and ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    """End this process when its parent has ended or was killed, so that no orphan writes into a resumed run."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
