"""Independent tasks (folds, arms) on the cores of this machine; where a cluster would plug in.

A task computes with one thread, whatever the number of processes, so its result does not depend on it.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing.connection import wait
from typing import TypeVar

import torch

Task = TypeVar("Task")
Result = TypeVar("Result")

MOST_JOBS = 16
"""Each process holds its own network and optimiser; more rarely pay for ten folds."""


def default_jobs(device: torch.device) -> int:
    """One process on a GPU, which runs one task at a time anyway; one a core on a CPU."""
    if device.type != "cpu":
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MOST_JOBS)


@contextlib.contextmanager
def worker_pool(jobs: int) -> Iterator[ProcessPoolExecutor | None]:
    """Processes for several calls of `run_tasks`, each started when it is first needed; None for one job or none.

    An error waits for the tasks that are under way; an interruption ends them in the middle, as a kill does.
    """
    if jobs <= 1:
        yield None
        return
    context = multiprocessing.get_context("spawn")  # a forked torch may hang in its thread pool
    others = set(multiprocessing.active_children())
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_start_worker) as pool:
        try:
            yield pool
        except KeyboardInterrupt:
            for worker in set(multiprocessing.active_children()) - others:
                worker.kill()
            raise
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def run_tasks(
    function: Callable[[Task], Result], tasks: Sequence[Task], pool: ProcessPoolExecutor | None
) -> Iterator[Result]:
    """Run the function on every task and yield the results as they come, in any order.

    An error stops what has not started and is raised here.

    Args:
        function: A module-level function.
        tasks: Its arguments; with a pool, they and the results must be picklable.
        pool: See `worker_pool`; None stays in this process.
    """
    if pool is None:
        yield from _run_here(function, tasks)
    else:
        for future in as_completed([pool.submit(function, task) for task in tasks]):
            yield future.result()


def _run_here(function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[Result]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for task in tasks:
            yield function(task)
    finally:
        torch.set_num_threads(threads)


def _start_worker() -> None:
    torch.set_num_threads(1)
    # A terminal or a scheduler may signal the whole group; the parent answers for all, and ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    """End this process when its parent is gone, killed included, so that no orphan writes into a resumed run."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
