"""Tasks side by side: all results, errors raised, one thread each, a killed worker's task done again, no orphans."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from sonoforge.runtime.errors import GateError, SonoforgeError
from sonoforge.training.run_folder import package_versions
from sonoforge.training.workers import (
    Home,
    ThisProcess,
    Workers,
    WorkerSettings,
    _gpu_share,
    check_cluster,
    default_jobs,
    do_task,
    open_workers,
)
from trial_tasks import doubles, ends_its_process, ends_its_process_once, refuses, who_and_how


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    with open_workers(WorkerSettings("cpu", 2), tmp_path_factory.mktemp("run"), 5) as workers:
        yield workers


@pytest.fixture(params=["this process", "two processes"])
def workers(request: pytest.FixtureRequest, processes: Workers) -> Workers:
    return processes if request.param == "two processes" else ThisProcess("cpu")


def test_every_task_is_done_once_with_one_thread(workers: Workers) -> None:
    done = list(workers.run(who_and_how, range(5)))
    assert sorted(task for task, _, _ in done) == [0, 1, 2, 3, 4]
    assert {threads for _, threads, _ in done} == {1}
    assert (os.getpid() in {process for _, _, process in done}) == (workers.slots == 1)


def test_tensors_take_no_shared_memory_of_which_containers_have_little(processes: Workers) -> None:
    ((came_shared, result),) = processes.run(doubles, [torch.arange(5)])
    assert result.tolist() == [0, 2, 4, 6, 8]
    assert not came_shared and not result.is_shared()


def test_an_error_keeps_its_kind_and_message(workers: Workers) -> None:
    with pytest.raises(GateError, match="sealed: planted"):
        list(workers.run(refuses, range(3)))


def test_the_task_of_a_killed_process_is_done_again_and_no_other(
    processes: Workers, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    done = list(processes.run(ends_its_process_once, [tmp_path / name for name in ("a", "b", "c")]))
    assert sorted(path.name for path in done) == ["a", "b", "c"]
    assert caplog.text.count("its task is done again") == 1
    begun = {name: (tmp_path / name).read_text() for name in ("a", "b", "c")}
    assert begun == {"a": "begun" * 2, "b": "begun", "c": "begun"}


@pytest.mark.slow
def test_a_task_that_kills_every_process_is_given_up(processes: Workers, tmp_path: Path) -> None:
    with pytest.raises(SonoforgeError, match="3 workers died over one task, most likely for lack of memory"):
        list(processes.run(ends_its_process, [tmp_path / "a"]))
    assert (tmp_path / "a").read_text() == "begun" * 3


def test_nothing_to_do_starts_nothing(tmp_path: Path) -> None:
    """Not even a cluster at an address where there is none."""
    with open_workers(WorkerSettings("cpu", 8, "192.0.2.1:1"), tmp_path, 0) as workers:
        assert list(workers.run(who_and_how, [])) == []


def test_jobs_on_a_gpu_and_on_a_cpu() -> None:
    assert default_jobs(torch.device("cuda")) == 1
    assert 1 <= default_jobs(torch.device("cpu")) <= 16


PROGRAM = """
import sys, time
from pathlib import Path
from sonoforge.runtime.cli.main import sigterm_as_ctrl_c
from sonoforge.training.workers import WorkerSettings, open_workers

def work(name):
    Path(name).touch()
    time.sleep(600)

if __name__ == "__main__":
    try:
        with sigterm_as_ctrl_c(), open_workers(WorkerSettings("cpu", 2), Path(), 2) as workers:
            list(workers.run(work, sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
"""


@pytest.mark.parametrize(
    ("number", "group"), [(signal.SIGKILL, False), pytest.param(signal.SIGTERM, True, marks=pytest.mark.slow)]
)
def test_workers_leave_with_their_parent(tmp_path: Path, number: signal.Signals, group: bool) -> None:
    """Signalled alone, or with its whole group, as schedulers do."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    names = [str(tmp_path / "a"), str(tmp_path / "b")]
    process = subprocess.Popen(
        [sys.executable, str(program), *names], start_new_session=True, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline and not all(Path(name).exists() for name in names):
        time.sleep(0.1)
    (os.killpg if group else os.kill)(process.pid, number)
    started = time.monotonic()
    _, errors = process.communicate(timeout=500)
    assert time.monotonic() - started < 300, "it waited for its workers, who sleep for ten minutes"
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


def test_a_task_is_made_of_the_results_before_it_once_a_worker_is_free(workers: Workers) -> None:
    """Of two workers, the second task is made beside the first; from then on, each after one more result."""
    results: list[int] = []
    known: list[int] = []

    def make() -> Iterator[int]:
        for task in range(5):
            known.append(len(results))
            yield task

    for task, _, _ in workers.run(who_and_how, make()):
        results.append(task)
    assert sorted(results) == [0, 1, 2, 3, 4]
    if workers.slots == 1:
        assert known == [0, 1, 2, 3, 4]
    else:
        assert known[:2] == [0, 0] and known == sorted(known) and known[2] >= 1


def test_none_is_asked_again_after_the_next_result(workers: Workers) -> None:
    """The third task needs the result of the first, however the two workers are paced."""
    results: list[int] = []

    def make() -> Iterator[int | None]:
        yield 0
        yield 1
        while 0 not in results:
            yield None
        yield 2

    for task, _, _ in workers.run(who_and_how, make()):
        results.append(task)
    assert sorted(results) == [0, 1, 2]


def test_how_a_gpu_is_shared() -> None:
    assert _gpu_share(1, 1) == _gpu_share(2, 4) == 1
    for jobs, gpus, together in ((8, 2, 4), (3, 1, 3), (7, 2, 4), (100, 3, 34)):
        assert together == int(1 / _gpu_share(jobs, gpus))


def test_a_cluster_that_cannot_be_used_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SonoforgeError, match="Ray assigns the GPUs"):
        check_cluster("local", "cuda:1")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SonoforgeError, match=r"ray is not installed; run .*\[cluster\]'$"):
        check_cluster("local", "auto")


def test_a_machine_with_another_torch_or_without_the_run_folder_is_refused(tmp_path: Path) -> None:
    home = Home(tmp_path / "seen", Path.cwd(), package_versions())
    with pytest.raises(SonoforgeError, match=r"is not on this machine; give --out a folder"):
        do_task(str, [1], 0, home)
    home.seen.touch()
    assert do_task(str, [1, 2], 1, home) == "2"
    with pytest.raises(SonoforgeError, match=r"torch \d.*, not 1\.0"):
        do_task(str, [1], 0, Home(home.seen, home.directory, {**home.versions, "torch": "1.0"}))
