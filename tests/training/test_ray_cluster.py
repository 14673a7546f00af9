"""Comparisons and answers on a Ray cluster: as on one machine, whatever is killed; about four minutes on two cores.

Some in `.ci/run`; all by hand:  pytest -m slow -n 0 tests/training/test_ray_cluster.py
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path

import pytest

from processes import descendants
from program import refused, sonoforge
from small_run import SMALL
from sonoforge.runtime.errors import GateError, SonoforgeError
from sonoforge.training.workers import WorkerSettings, open_workers
from trial_tasks import ends_its_process, ends_its_process_once, refuses, who_and_how

pytestmark = [
    pytest.mark.slow,
    # Not imported: the program sets variables that Ray reads then.
    pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: pip install 'sonoforge[cluster]'"),
    pytest.mark.skipif(sys.platform != "linux", reason="looks for processes and namespaces as Linux has them"),
]


def begin(*arguments: object) -> subprocess.Popen[str]:
    """Start the command in a process of its own; a forked one could not use Ray after this one has."""
    command = [sys.executable, "-m", "sonoforge.runtime.cli.main", *map(str, arguments)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)


def wait_until(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        assert process.poll() is None and time.monotonic() < deadline, "it ended, or took more than five minutes"
        time.sleep(0.01)


def assert_ended(processes: Iterable[int]) -> None:
    """Ray's own processes may take some seconds to end."""
    deadline = time.monotonic() + 300
    while alive := [pid for pid in processes if Path(f"/proc/{pid}").exists()]:
        assert time.monotonic() < deadline, f"{alive} outlived the command"
        time.sleep(0.1)


def test_tasks_errors_and_deaths_are_those_of_processes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # where its workers find these tasks
    with open_workers(WorkerSettings("cpu", 2, "local"), tmp_path, 5) as workers:
        done = list(workers.run(who_and_how, range(5)))
        assert sorted(task for task, _, _ in done) == [0, 1, 2, 3, 4]
        assert {threads for _, threads, _ in done} == {1}
        assert os.getpid() not in {process for _, _, process in done}
        assert_closed()
        with pytest.raises(GateError, match=r"^sealed: planted$"):
            list(workers.run(refuses, range(3)))
        done_again = list(workers.run(ends_its_process_once, [tmp_path / name for name in ("a", "b", "c")]))
        assert sorted(path.name for path in done_again) == ["a", "b", "c"]
        assert [(tmp_path / name).read_text() for name in ("a", "b", "c")] == ["begun" * 2, "begun", "begun"]
        assert caplog.text.count("its task is done again") == 1
        with pytest.raises(SonoforgeError, match="3 workers died over one task"):
            list(workers.run(ends_its_process, [tmp_path / "d"]))
    assert capfd.readouterr() == ("", "")
    assert not descendants(os.getpid())


def assert_closed() -> None:
    """Nothing of the cluster listens to other machines."""
    own = [os.getpid(), *descendants(os.getpid())]
    listening = subprocess.run(["ss", "-Htlnp"], capture_output=True, text=True, check=True).stdout.splitlines()
    ports = [line.split()[3] for line in listening if any(f"pid={pid}," in line for pid in own)]
    assert ports and all(port.startswith(("127.0.0.1:", "[::ffff:127.0.0.1]:", "[::1]:")) for port in ports), ports


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_ends_all_workers_and_keeps_what_is_done(number: signal.Signals, tmp_path: Path) -> None:
    command = ["crossval", *map(str, SMALL), "--arms", "real", "--out", str(tmp_path / "runs"), "--cluster", "local"]
    process = begin(*command, "--jobs", "1")
    wait_until(lambda: list(tmp_path.glob("runs/*/folds/*.json")), process)
    own = descendants(process.pid)
    os.killpg(process.pid, number)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 130
    assert errors.splitlines()[-1].startswith("sonoforge: interrupted") and "Traceback" not in errors
    assert_ended(own)
    assert list(tmp_path.glob("runs/*/folds/*.json")) and not list(tmp_path.glob("runs/*/results.json"))


def test_no_cluster_at_an_address_is_one_line(tmp_path: Path) -> None:
    line = refused("crossval", *SMALL, "--cluster", "127.0.0.1:1", "--out", tmp_path)
    assert "--cluster 127.0.0.1:1: Ray is not available" in line
    assert sonoforge("crossval", "--cluster", "nonsense", "--out", tmp_path, "--quiet").code == 2
