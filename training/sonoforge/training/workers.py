"""Run independent tasks in this process, in several processes or on a Ray cluster.

A task computes with one thread, so its result does not depend on the number of workers. Its files are in the run
folder. If a worker dies, its task is done again; an error in a task is raised here.

A Ray cluster is ``local``, started here for the run and closed to the network, or an existing one.  All machines must
see the run folder and the data under the same paths; a machine that does not, or that has other package versions, is
refused.
"""

from __future__ import annotations

import contextlib
import logging
import math
import multiprocessing
import os
import pickle
import secrets
import signal
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import connection
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch

from sonoforge.runtime import atomic, machine
from sonoforge.runtime.errors import SonoforgeError, reason, require
from sonoforge.runtime.images.inputs import silent_libraries
from sonoforge.training.devices import find_device, one_thread
from sonoforge.training.run_folder import package_versions

log = logging.getLogger(__name__)

Task = TypeVar("Task")
Result = TypeVar("Result")

MOST_JOBS = 16
"""More processes, each with its own network and optimiser, rarely pay off for ten folds."""
MOST_DEATHS = 3
"""How many workers may die over one task before it is given up, as the task must be the cause."""


class Workers(Protocol):
    """Workers that do tasks."""

    slots: int  # parallel tasks
    device: str  # of a task, see `devices.find_device`

    def run(self, function: Callable[[Task], Result], tasks: Iterable[Task | None]) -> Iterator[Result]:
        """Do the tasks and yield their results as they arrive, in any order.

        Args:
            function: A module-level function that other processes can import.
            tasks: Its arguments; they and the results must be picklable.  Each is taken when a worker is free, after
                the results so far have been used, so a generator can base the next task on them. None means that there
                is no task before the next result.

        Raises:
            Exception: Whatever a task raises; tasks that have not started are dropped.
            SonoforgeError: `MOST_DEATHS` workers died over one task.
        """


@dataclass(frozen=True)
class WorkerSettings:
    """The workers that a user asks for."""

    device: str
    jobs: int | None = None  # parallel tasks; None: `default_jobs`, on a cluster as many as fit
    cluster: str = ""  # empty: processes of this machine; `local` or HOST:PORT: a Ray cluster


def check_cluster(cluster: str, device: str) -> None:
    """Refuse a cluster if Ray is not installed or a single GPU is given, before anything is computed."""
    if not cluster:
        return
    if ":" in device:
        raise SonoforgeError(
            f"--device: {device} cannot be combined with --cluster, where Ray assigns the GPUs; give auto, cpu or cuda"
        )
    require(f"--cluster {cluster}", "cluster", "ray")


def check_reachable(cluster: str) -> None:
    """Refuse a cluster that does not answer: Ray would try for a quarter of an hour."""
    host, _, port = cluster.rpartition(":")
    if host and port.isdigit():
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=_KNOCK_SECONDS).close()
        except OSError as error:
            raise _unavailable(cluster, error) from error


def _unavailable(cluster: str, error: Exception) -> SonoforgeError:
    remedy = "give TMPDIR a short path" if cluster == LOCAL else "start it, or give its token (RAY_AUTH_MODE=token)"
    return SonoforgeError(f"--cluster {cluster}: Ray is not available ({reason(error)}); {remedy}")


@contextlib.contextmanager
def open_workers(settings: WorkerSettings, folder: Path, most: int) -> Iterator[Workers]:
    """Open at most ``most`` workers for several calls of `Workers.run`.

    An error waits for running tasks; an interruption kills them.

    Raises:
        SonoforgeError: There is no such cluster, or Ray is not installed.
    """
    if settings.cluster and most:
        check_cluster(settings.cluster, settings.device)
        check_reachable(settings.cluster)
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


def default_jobs(device: torch.device) -> int:
    """Return one process for a GPU, which runs one task at a time anyway, or one for each CPU core."""
    if device.type != "cpu":
        return 1
    return min(machine.cores(), MOST_JOBS)


def died_again(deaths: int, error: Exception) -> int:
    """Count one more worker death over a task; raise SonoforgeError if there are too many."""
    if deaths + 1 < MOST_DEATHS:
        log.warning("a worker died; its task is done again")
        return deaths + 1
    raise SonoforgeError(
        f"{deaths + 1} workers died over one task, most likely for lack of memory (see the system's log); free some, "
        "or run fewer tasks at a time, and give --resume: finished tasks are kept"
    ) from error


class ThisProcess(Workers):
    """The single worker of a serial run."""

    slots = 1

    def __init__(self, device: str) -> None:
        self.device = device

    def run(self, function: Callable[[Task], Result], tasks: Iterable[Task | None]) -> Iterator[Result]:
        """Do one task after the other, see `Workers`."""
        with one_thread():
            for task in tasks:
                if task is None:
                    return  # no result is still to come
                yield function(task)


class Processes(Workers):
    """Processes, each started when first needed, in its own pool: a pool breaks when one of its processes dies."""

    def __init__(self, jobs: int, device: str) -> None:
        self.slots, self.device = jobs, device
        self._pools = [_pool() for _ in range(jobs)]

    def run(self, function: Callable[[Task], Result], tasks: Iterable[Task | None]) -> Iterator[Result]:
        """Do the tasks side by side, see `Workers`."""
        new, again = iter(tasks), deque[tuple[Task, int]]()
        free = list(range(self.slots))
        running: dict[Future[bytes], tuple[Task, int, int]] = {}
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
                    result = pickle.loads(future.result())  # noqa: S301 - from a process of this program
                except BrokenProcessPool as error:
                    again.appendleft((task, died_again(deaths, error)))
                else:
                    yield result

    def _submit(self, slot: int, function: Callable[[Task], Result], task: Task) -> Future[bytes]:
        packed = pickle.dumps((function, task))
        try:
            return self._pools[slot].submit(_do, packed)
        except BrokenProcessPool:  # its process died
            self._pools[slot] = _pool()
            return self._pools[slot].submit(_do, packed)

    def close(self) -> None:
        """Drop tasks that have not started, and wait for the others."""
        for pool in self._pools:
            pool.shutdown(wait=False, cancel_futures=True)
        for pool in self._pools:
            pool.shutdown()


def _do(packed: bytes) -> bytes:
    """Do a task, packed here because torch would send its tensors through /dev/shm, of which containers have 64 MB."""
    function, task = pickle.loads(packed)  # noqa: S301 - from this program
    return pickle.dumps(function(task))


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
    """End this process when its parent has ended or was killed, so that no orphan writes to a resumed run."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


# ---- a Ray cluster

LOCAL = "local"
_STORE_BYTES = 256_000_000  # of a cluster started here, whose tasks send little
_KNOCK_SECONDS = 10.0
_SMALLEST_SHARE = 1e-4  # of a GPU: Ray counts in these
# Read by Ray at its first import: no reports to its makers, nothing on our stdout.
_SILENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS_SKIP_REGEX": ".*"}
# A cluster started here listens to this machine alone, as by default on Windows and macOS, has a token of its own
# (Ray would keep one in the user's home), and gives its workers the priority of processes.
_CLOSED = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_worker_niceness": "0"}
_TOKEN = {"RAY_AUTH_TOKEN": secrets.token_hex(32)}


@contextlib.contextmanager
def open_cluster(settings: WorkerSettings, folder: Path, most: int) -> Iterator[Cluster]:
    """Start a cluster here or join one, and leave it at the end with its tasks, see `open_workers`.

    Raises:
        SonoforgeError: Ray does not start or answer, or lacks a requested GPU.
    """
    local = settings.cluster == LOCAL
    os.environ.update(_SILENT | (_CLOSED | _TOKEN if local else {}))
    import ray  # noqa: PLC0415 - an extra, and slow to import

    with contextlib.ExitStack() as stack:
        options = _start_options(settings, most, stack) if local else {"address": settings.cluster}
        stack.callback(ray.shutdown)
        try:
            with _own_sigterm(), silent_libraries():
                ray.init(**options, log_to_driver=False, logging_level=logging.CRITICAL)
        except Exception as error:
            raise _unavailable(settings.cluster, error) from error
        cores, gpus = (int(ray.cluster_resources().get(kind, 0)) for kind in ("CPU", "GPU"))
        if not cores or (settings.device == "cuda" and not gpus):
            missing = f"GPU, which --device {settings.device} requires" if cores else "CPU core"
            raise SonoforgeError(f"--cluster {settings.cluster}: it has no {missing}")
        device = "cpu" if settings.device == "cpu" or not gpus else "cuda"
        jobs = settings.jobs or (gpus if device == "cuda" else most)
        machines = len([node for node in ray.nodes() if node["Alive"]])
        log.info("Ray cluster %s: machines %d, cores %d, GPUs %d", settings.cluster, machines, cores, gpus)
        seen = atomic.temporary_name(folder.absolute() / "seen")
        stack.enter_context(contextlib.closing(atomic.open_new(seen)))
        stack.callback(seen.unlink, missing_ok=True)
        home = Home(seen, Path.cwd(), package_versions())
        yield Cluster(home, min(jobs, most, cores), device, _gpu_share(jobs, gpus) if device == "cuda" else 0)


@contextlib.contextmanager
def _own_sigterm() -> Iterator[None]:
    """Keep this program's handler of SIGTERM, which Ray would replace."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _start_options(settings: WorkerSettings, most: int, stack: contextlib.ExitStack) -> dict[str, Any]:
    device = find_device(settings.device)
    folder = stack.enter_context(atomic.private_folder("ray"))  # short, for the names of sockets in it
    gpus = torch.cuda.device_count() if device.type == "cuda" else 0
    return {
        "address": LOCAL,
        "num_cpus": min(settings.jobs or gpus or default_jobs(device), most),
        "num_gpus": gpus,
        "include_dashboard": False,
        "object_store_memory": _STORE_BYTES,
        "_temp_dir": str(folder),
    }


def _gpu_share(jobs: int, gpus: int) -> float:
    """Return each task's share of a GPU for this many parallel tasks."""
    return math.floor(1 / math.ceil(jobs / gpus) / _SMALLEST_SHARE) * _SMALLEST_SHARE


@dataclass(frozen=True)
class Home:
    """Where tasks come from."""

    seen: Path  # a file of the run folder with a unique name: machines that see it see the run folder
    directory: Path  # of relative paths
    versions: Mapping[str, str]  # of the packages that results depend on


class Cluster(Workers):
    """The workers of a Ray cluster that this process has joined."""

    def __init__(self, home: Home, slots: int, device: str, share: float) -> None:
        import ray  # noqa: PLC0415 - an extra

        self.slots, self.device, self._home = slots, device, home
        # Deaths are counted and reported here, so Ray must not retry.
        self._do: Any = ray.remote(num_cpus=1, num_gpus=share, max_retries=0)(do_task)

    def run(self, function: Callable[[Task], Result], tasks: Iterable[Task | None]) -> Iterator[Result]:
        """Do the tasks on the cluster, see `Workers`."""
        import ray  # noqa: PLC0415 - an extra
        from ray import exceptions  # noqa: PLC0415

        died = (
            exceptions.WorkerCrashedError,
            exceptions.NodeDiedError,
            exceptions.OutOfMemoryError,
            exceptions.ObjectLostError,
        )
        # A sequence is stored in one piece, so that what its tasks share is stored once.
        stored = ray.put(list(tasks)) if isinstance(tasks, Sequence) else None
        new, again = enumerate(tasks), deque[tuple[Any, int]]()
        running: dict[Any, tuple[Any, int]] = {}
        while True:
            while len(running) < self.slots:
                placed, deaths = again.popleft() if again else (next(new, None), 0)
                if placed is None or placed[1] is None:
                    break
                work = (stored, placed[0]) if stored is not None else (ray.put([placed[1]]), 0)
                running[self._do.remote(function, *work, self._home)] = placed, deaths
            if not running:
                return
            (done,), _ = ray.wait(list(running), num_returns=1)
            placed, deaths = running.pop(done)
            try:
                yield ray.get(done)
            except died as error:
                again.appendleft((placed, died_again(deaths, error)))
            except exceptions.RayTaskError as error:
                raise getattr(error, "cause", None) or SonoforgeError(
                    f"a task failed on the cluster: {reason(error)}"
                ) from error


def do_task(function: Callable[[Any], Any], tasks: Sequence[Any], index: int, home: Home) -> Any:
    """Do one of the tasks, on the machine that Ray chose.

    Raises:
        SonoforgeError: Other versions are installed here, or the run folder is not visible.
        Exception: Whatever the task raises.
    """
    own = package_versions()
    wrong = [
        f"{name} {own.get(name, 'missing')}, not {it}" for name, it in home.versions.items() if own.get(name) != it
    ]
    if wrong:
        raise SonoforgeError(
            f"{socket.gethostname()}: {'; '.join(wrong)}; install the same versions on each machine of the cluster"
        )
    if not home.seen.exists():
        raise SonoforgeError(
            f"{socket.gethostname()}: {home.seen.parent} is not on this machine; give --out a folder that all machines "
            "of the cluster share"
        )
    torch.set_num_threads(1)
    with contextlib.suppress(OSError):
        os.chdir(home.directory)
    return function(tasks[index])
