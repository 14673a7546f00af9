"""Tasks side by side: all results, errors raised, one thread each, no orphans."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
import torch

from sonoforge.runtime.errors import GateError
from sonoforge.training.tasks import default_jobs, run_tasks, worker_pool


def describe(task: int) -> tuple[int, int, int]:
    return task, torch.get_num_threads(), os.getpid()


def refuse(task: int) -> int:
    if task == 1:
        raise GateError("sealed: planted")
    return task


@pytest.fixture(scope="module", params=[1, 2])
def pool(request: pytest.FixtureRequest) -> Iterator[ProcessPoolExecutor | None]:
    with worker_pool(request.param) as pool:
        yield pool


def test_every_task_is_done_once_with_one_thread(pool: ProcessPoolExecutor | None) -> None:
    done = list(run_tasks(describe, range(5), pool))
    assert sorted(task for task, _, _ in done) == [0, 1, 2, 3, 4]
    assert {threads for _, threads, _ in done} == {1}
    assert (os.getpid() in {process for _, _, process in done}) == (pool is None)


def test_an_error_keeps_its_kind_and_message(pool: ProcessPoolExecutor | None) -> None:
    with pytest.raises(GateError, match="sealed: planted"):
        list(run_tasks(refuse, range(3), pool))


def test_jobs_on_a_gpu_and_on_a_cpu() -> None:
    assert default_jobs(torch.device("cuda")) == 1
    assert 1 <= default_jobs(torch.device("cpu")) <= 16


PROGRAM = """
import sys, time
from pathlib import Path
from sonoforge.runtime.cli.interruption import sigterm_as_ctrl_c
from sonoforge.training.tasks import run_tasks, worker_pool

def work(name):
    Path(name).touch()
    time.sleep(60)

if __name__ == "__main__":
    try:
        with sigterm_as_ctrl_c(), worker_pool(2) as pool:
            list(run_tasks(work, sys.argv[1:], pool))
    except KeyboardInterrupt:
        sys.exit(130)
"""


@pytest.mark.parametrize(
    ("number", "group"), [(signal.SIGKILL, False), (signal.SIGTERM, False), (signal.SIGTERM, True)]
)
def test_workers_leave_with_their_parent(tmp_path: Path, number: signal.Signals, group: bool) -> None:
    """Signalled alone, or with its whole group, as schedulers do."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    names = [str(tmp_path / "a"), str(tmp_path / "b")]
    process = subprocess.Popen(
        [sys.executable, str(program), *names], start_new_session=True, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and not all(Path(name).exists() for name in names):
        time.sleep(0.1)
    (os.killpg if group else os.kill)(process.pid, number)
    started = time.monotonic()
    _, errors = process.communicate(timeout=90)
    assert time.monotonic() - started < 40, "it waited for its workers, who sleep for a minute"
    if number != signal.SIGKILL:
        assert process.returncode == 130, errors
        assert "Traceback" not in errors
    while time.monotonic() < deadline:
        left = subprocess.run(["pgrep", "-f", "multiprocessing.spawn"], capture_output=True, text=True).stdout.split()
        if not [pid for pid in left if _belongs(pid, process.pid)]:
            return
        time.sleep(0.2)
    pytest.fail("a worker outlived its parent")


def _belongs(pid: str, parent: int) -> bool:
    """Whether this worker was spawned by the killed program; a spawned process names its parent's pid."""
    try:
        return f"parent_pid={parent}" in Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return False
