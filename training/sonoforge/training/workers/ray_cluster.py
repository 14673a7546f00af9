"""Workers on a Ray cluster: ``local``, started here for the run and closed to the network, or an existing one.

On machines that see the run folder, tasks work in it.  Elsewhere they work in a temporary folder: the files that they
read are sent along, and those that they write are sent back.  Data sets never travel: each machine reads them under the
same path, and the check of the split plan refuses other images.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import math
import os
import secrets
import shutil
import signal
import socket
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from sonoforge.runtime import atomic
from sonoforge.runtime.atomic import temporary_folder
from sonoforge.runtime.errors import SonoforgeError, reason
from sonoforge.runtime.images.inputs import silent_libraries
from sonoforge.training.devices import find_device
from sonoforge.training.remote_runs import stamps
from sonoforge.training.run_folder import package_versions
from sonoforge.training.workers.travel import pack, read_files, unpack, write_files
from sonoforge.training.workers.workers import Reads, Result, Task, Workers, WorkerSettings, default_jobs, died_again

log = logging.getLogger(__name__)

LOCAL = "local"
_UNSEEN = b""  # from a machine that does not see the run folder and was sent no files
_STORE_BYTES = 256_000_000  # of a cluster started here, whose tasks work in the run folder and send little
_KNOCK_SECONDS = 10.0
_SMALLEST_SHARE = 1e-4  # of a GPU: Ray counts in these
# Read by Ray at its first import: no reports to its makers, nothing on our stdout.
_SILENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS_SKIP_REGEX": ".*"}
# Listen to this machine alone, as Ray does by default on Windows and macOS.
_CLOSED = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
_TOKEN = secrets.token_hex(32)  # of a local cluster; Ray would keep one in the user's home
_AS_PROCESSES = {"RAY_worker_niceness": "0"}  # Ray's workers have a low priority by default


def check_cluster(cluster: str, device: str) -> None:
    """Refuse a cluster without Ray installed, or with a single GPU named, before anything is computed."""
    if not cluster:
        return
    if ":" in device:
        raise SonoforgeError(
            f"--device: {device} cannot be combined with --cluster, where Ray assigns the GPUs; give auto, cpu or cuda"
        )
    if importlib.util.find_spec("ray") is None:
        raise SonoforgeError(f"--cluster {cluster}: ray is not installed; pip install 'sonoforge[cluster]'")


@contextlib.contextmanager
def open_cluster(settings: WorkerSettings, folder: Path, most: int) -> Iterator[Cluster]:
    """Start a cluster here or join one, and leave it at the end with its tasks, see `opening.open_workers`.

    Raises:
        SonoforgeError: Ray does not start or answer, or has no GPU where one is asked for.
    """
    check_cluster(settings.cluster, settings.device)
    local = settings.cluster == LOCAL
    with contextlib.ExitStack() as stack:
        own = _CLOSED | _AS_PROCESSES | {"RAY_AUTH_TOKEN": _TOKEN} if local else {}
        stack.enter_context(_environment(_SILENT | own))
        import ray  # noqa: PLC0415 - an extra, and slow to import

        options = _start_options(settings, most, stack) if local else {"address": settings.cluster}
        stack.callback(ray.shutdown)
        try:
            if not local:
                _knock(settings.cluster)
            with _own_sigterm(), silent_libraries():
                ray.init(**options, log_to_driver=False, logging_level=logging.CRITICAL)
        except Exception as error:
            remedy = "give TMPDIR a short path" if local else "start it, or give its token (RAY_AUTH_MODE=token)"
            raise SonoforgeError(
                f"--cluster {settings.cluster}: Ray is not available ({reason(error)}); {remedy}"
            ) from error
        cores, gpus = (int(ray.cluster_resources().get(kind, 0)) for kind in ("CPU", "GPU"))
        if not cores or (settings.device == "cuda" and not gpus):
            missing = f"GPU, which --device {settings.device} requires" if cores else "CPU core"
            raise SonoforgeError(f"--cluster {settings.cluster}: it has no {missing}")
        device = "cpu" if settings.device == "cpu" or not gpus else "cuda"
        jobs = settings.jobs or (gpus if device == "cuda" else most)
        machines = len([node for node in ray.nodes() if node["Alive"]])
        log.info("Ray cluster %s: machines %d, cores %d, GPUs %d", settings.cluster, machines, cores, gpus)
        folder = folder.absolute()
        seen = atomic.temporary_name(folder / "seen")
        stack.enter_context(contextlib.closing(atomic.open_new(seen)))
        stack.callback(seen.unlink, missing_ok=True)
        home = Home(folder, seen, Path.cwd(), package_versions())
        yield Cluster(home, min(jobs, most, cores), device, _gpu_share(jobs, gpus) if device == "cuda" else 0)


def _knock(address: str) -> None:
    """Check that something listens at HOST:PORT, or raise OSError; Ray would try for a quarter of an hour."""
    host, _, port = address.rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_KNOCK_SECONDS).close()


@contextlib.contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables while inside."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _own_sigterm() -> Iterator[None]:
    """Keep this program's handler of SIGTERM, which Ray would replace."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _start_options(settings: WorkerSettings, most: int, stack: contextlib.ExitStack) -> dict[str, Any]:
    device = find_device(settings.device)
    base = Path(tempfile.gettempdir())
    atomic.remove_leftovers(base)  # of killed processes
    folder = atomic.temporary_name(base / "ray")  # short, for the names of sockets in it
    stack.enter_context(atomic.new_folder(folder))
    folder.chmod(0o700)
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
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
    """Return the share of a GPU for each of so many parallel tasks."""
    return math.floor(1 / math.ceil(jobs / gpus) / _SMALLEST_SHARE) * _SMALLEST_SHARE


@dataclass(frozen=True)
class Home:
    """Where tasks come from."""

    folder: Path  # the run folder
    seen: Path  # a file in it with a unique name: machines that see it see the run folder
    directory: Path  # of relative paths
    versions: Mapping[str, str]  # of the packages that results depend on


class _Packed(NamedTuple):
    """A task, and its place in Ray's store."""

    task: Any
    work: Any  # reference to the packed function and list of tasks
    place: int  # in that list


class Cluster(Workers):
    """The workers of a Ray cluster that this process has joined."""

    def __init__(self, home: Home, slots: int, device: str, share: float) -> None:
        import ray  # noqa: PLC0415 - an extra

        self.slots, self.device = slots, device
        self._home = home
        self._sends = False  # whether some machine does not see the run folder
        # Deaths are counted and reported here, so Ray must not retry.
        self._do = ray.remote(num_cpus=1, num_gpus=share, max_retries=0)(do_task)

    def run(
        self, function: Callable[[Task], Result], tasks: Iterable[Task | None], reads: Reads | None = None
    ) -> Iterator[Result]:
        """Do the tasks on the cluster, see `workers.Workers`."""
        import ray  # noqa: PLC0415 - an extra
        from ray import exceptions  # noqa: PLC0415

        died = (
            exceptions.WorkerCrashedError,
            exceptions.NodeDiedError,
            exceptions.OutOfMemoryError,
            exceptions.ObjectLostError,
        )
        sent: dict[Path, dict[str, Any]] = {}
        new, again = self._pack(function, tasks), deque[tuple[_Packed, int]]()
        running: dict[Any, tuple[_Packed, int]] = {}
        while True:
            while len(running) < self.slots:
                packed, deaths = again.popleft() if again else (next(new, None), 0)
                if packed is None:
                    break
                files = self._send(reads(packed.task) if reads else (), sent) if self._sends else None
                running[self._do.remote(packed.work, packed.place, self._home, files)] = packed, deaths
            if not running:
                return
            (done,), _ = ray.wait(list(running), num_returns=1)
            packed, deaths = running.pop(done)
            try:
                answer = ray.get(done)
            except died as error:
                again.appendleft((packed, died_again(deaths, error)))
                log.warning("a worker of the cluster died; its task is done again (%s)", reason(error))
            except exceptions.RayTaskError as error:
                raise getattr(error, "cause", None) or SonoforgeError(
                    f"a task failed on the cluster: {reason(error)}"
                ) from error
            else:
                if answer == _UNSEEN:
                    if not self._sends:
                        log.info("a machine of the cluster does not see %s: files are sent", self._home.folder)
                    self._sends = True
                    again.appendleft((packed, deaths))
                    continue
                result, files = unpack(answer, self._home.folder)
                write_files(self._home.folder, files)
                yield result

    def _pack(self, function: Callable[[Task], object], tasks: Iterable[Task | None]) -> Iterator[_Packed | None]:
        """Put tasks into Ray's store; a sequence of them in one piece, so that shared objects are stored once."""
        import ray  # noqa: PLC0415 - an extra

        if isinstance(tasks, Sequence):
            work = ray.put(pack((function, list(tasks)), self._home.folder))
            yield from (_Packed(task, work, index) for index, task in enumerate(tasks))
            return
        for task in tasks:
            yield None if task is None else _Packed(task, ray.put(pack((function, [task]), self._home.folder)), 0)

    def _send(self, paths: Sequence[Path], sent: dict[Path, dict[str, Any]]) -> dict[str, Any]:
        """Put files into Ray's store, each path once; return their references by path in the run folder."""
        import ray  # noqa: PLC0415 - an extra

        for path in paths:
            if path not in sent:
                files = read_files(self._home.folder, [path.absolute()])
                sent[path] = {name: ray.put(content) for name, content in files.items()}
        return {name: place for path in paths for name, place in sent[path].items()}


def do_task(work: bytes, index: int, home: Home, files: Mapping[str, Any] | None) -> bytes:
    """Do one of the tasks packed in ``work``, on the machine that Ray chose.

    ``files`` are those that it reads from the run folder, by path; None if nothing was sent.

    Returns:
        The result and the files written outside the run folder, packed; `_UNSEEN` if files must be sent.

    Raises:
        SonoforgeError: Other versions are installed here.
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
    torch.set_num_threads(1)
    with contextlib.suppress(OSError):
        os.chdir(home.directory)
    if home.seen.exists():
        function, tasks = unpack(work, home.folder)
        return pack((function(tasks[index]), {}), home.folder)
    if files is None:
        return _UNSEEN
    import ray  # noqa: PLC0415 - an extra

    with temporary_folder() as folder:
        write_files(folder, dict(zip(files, ray.get(list(files.values())), strict=True)))
        before = stamps(folder, frozenset())
        function, tasks = unpack(work, folder)
        result = function(tasks[index])
        written = [folder / name for name, stamp in stamps(folder, frozenset()).items() if before.get(name) != stamp]
        return pack((result, read_files(folder, written)), folder)
