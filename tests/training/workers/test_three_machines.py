"""Whole commands on a Ray cluster of three machines that share nothing but a bucket, one of which dies at work.

Each machine has its own files under the same path, its own working folder, home and temporary folder.

About ten minutes on two busy cores; by hand:  pytest -m slow -n 0 tests/training/workers/test_three_machines.py
"""

from __future__ import annotations

import contextlib
import csv
import io
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from processes import descendants
from program import succeed
from small_run import CLASSIFIER, GENERATOR

pytestmark = [
    pytest.mark.slow,
    # Not imported: the program sets variables that Ray reads then.
    pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: pip install 'sonoforge[cluster]'"),
    pytest.mark.skipif(sys.platform != "linux", reason="looks for processes and namespaces as Linux has them"),
]
TIMES = ("seconds", "latency_ms")  # columns that no two runs share
DATA = ["--data", "scans", "--device", "cpu"]
SMALL_GAN = [
    "--class",
    "malignant",
    "--image-size",
    "32",
    "--width",
    "4",
    "--batch",
    "4",
    "--metric-features",
    "pixels",
]


class Verb(NamedTuple):
    """A command, the files that show how far it is, and the table in which it ends."""

    command: list[str]
    pieces: str
    table: str


STUDY = [*SMALL_GAN, "--pruner", "none"]
EVOLUTION = ["--stages", "generator", "--deterministic", "--population", "3", "--children", "5", "--sample", "2"]
UNETS = ["--image-size", "32", "--steps", "12", "--batch", "8", "--width", "8", "--repeats", "5", "--seeds", "2"]
PAIRS = ["--gan-kimg", "0.1", "--gan-batch", "4", "--gan-width", "4", "--metric-features", "pixels"]
CLASSIFIERS = [*CLASSIFIER, *GENERATOR, "--folds", "3"]
VERBS = {
    "crossval": Verb([*CLASSIFIERS, "--arms", "real,gan"], "folds/*.json", "predictions.csv"),
    "run": Verb(CLASSIFIERS, "folds/*.json", "predictions.csv"),
    "tune": Verb(
        [*STUDY, "--kimg", "0.1", "--recipes", "dcgan", "--trials", "8", "--sampler", "random"],
        "dcgan/*/trial.json",
        "trials.csv",
    ),
    "search": Verb(
        [*STUDY, "--kimg", "0.02", "--conditioning", "none", *EVOLUTION], "generator/*/trial.json", "trials.csv"
    ),
    "segment": Verb([*UNETS, *PAIRS], "*/folds/*.csv", "cases.csv"),
}


class Machines:
    """Three machines: commands are given on the first, which is the head of the cluster."""

    def __init__(self, root: Path) -> None:
        self.nodes, self._root = root / "nodes", root
        (root / "machine").mkdir()
        for i in range(3):
            for name in (f"work{i}", "home", "tmp"):
                (self.nodes / str(i) / name).mkdir(parents=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        self.temporary = Path(f"/tmp/sonoforge-{os.getpid()}")  # the names of Ray's sockets may not be long
        self._token = secrets.token_hex(32)
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    def popen(self, i: int, command: list[str], **options: Any) -> subprocess.Popen[Any]:
        """Start a program on a machine, where it sees none of the others' files."""
        machine = self._root / "machine"
        hide = f"mount --bind '{self.nodes}/{i}' '{machine}' && mount -t tmpfs none '{self.nodes}'"
        words = ["unshare", "--mount", "sh", "-c", f"{hide} && cd '{machine}/work{i}' && exec \"$@\"", "sh", *command]
        own = {"HOME": f"{machine}/home", "TMPDIR": f"{machine}/tmp"}
        ray = {
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_worker_niceness": "0",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": self._token,
        }
        environment = {name: value for name, value in os.environ.items() if name != "SONOFORGE_CACHE"}
        return subprocess.Popen(words, env={**environment, **own, **ray}, start_new_session=True, **options)

    @contextlib.contextmanager
    def commanded(self, words: list[str], said: Path) -> Iterator[subprocess.Popen[Any]]:
        """Give a command of the program on the first machine; what it says goes to a file."""
        program = [sys.executable, "-m", "sonoforge.runtime.cli.main", *words]
        with said.open("wb") as file:
            process = self.popen(0, program, stdout=file, stderr=file)
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def start(self, i: int) -> None:
        """Let a machine that is not in the cluster join it."""
        if i in self._processes:
            return
        ray = str(Path(sys.executable).with_name("ray"))
        role = ["--head", f"--port={self.address.rpartition(':')[2]}", "--include-dashboard=false"]
        role += [f"--temp-dir={self.temporary}"]
        others = [f"--address={self.address}"]
        size = ["--num-cpus=1", "--object-store-memory=100000000", "--min-worker-port=0", "--max-worker-port=0"]
        said = self._root / f"ray{i}.txt"
        command = [ray, "start", *(others if i else role), *size, "--block"]
        with said.open("wb") as file:
            self._processes[i] = self.popen(i, command, stdout=file, stderr=file)
        deadline = time.monotonic() + 300
        while "Ray runtime started" not in said.read_text():
            assert self._processes[i].poll() is None and time.monotonic() < deadline, said.read_text()
            time.sleep(0.1)

    def busy(self) -> int | None:
        """Return a machine, but not the head, that does a task."""
        for i in set(self._processes) - {0}:
            if any(line.startswith("ray::do_task") for line in descendants(self._processes[i].pid).values()):
                return i
        return None

    def kill(self, i: int) -> None:
        """Let a machine die, with all that runs on it."""
        process = self._processes.pop(i)
        for pid in [process.pid, *descendants(process.pid)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()

    def close(self) -> None:
        """End all."""
        for i in sorted(self._processes, reverse=True):
            self.kill(i)
        shutil.rmtree(self.temporary, ignore_errors=True)


@pytest.fixture(scope="module")
def machines(s3: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    """The cluster; simulated scans have come to each machine by way of the bucket."""
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode:
        pytest.skip("a machine of its own is simulated by a mount namespace, which is not allowed here")
    root = tmp_path_factory.mktemp("cluster")
    succeed("data", "phantom", root / "scans", "--images", "90", "--size", "96", "--balance", "1,1,4")
    s3.put(f"{root}/scans", "bucket/scans", recursive=True)
    cluster = Machines(root)
    try:
        for i in range(3):
            succeed("data", "fetch", "s3://bucket/scans", cluster.nodes / str(i) / f"work{i}" / "scans")
            cluster.start(i)
        yield cluster
    finally:
        cluster.close()


def comparable(table: bytes) -> Any:
    """What must be the same, whoever did the work."""
    rows = list(csv.DictReader(io.StringIO(table.decode())))
    if not set(TIMES) & set(rows[0]):
        return table
    rows = [{name: value for name, value in row.items() if name not in TIMES} for row in rows]
    return sorted(rows, key=lambda row: (row["study"], int(row["trial"])))


@pytest.mark.parametrize("verb", VERBS)
def test_a_machine_that_dies_costs_what_it_was_at(
    verb: str, machines: Machines, s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command, pieces, table = VERBS[verb]
    monkeypatch.chdir(machines.nodes / "0" / "work0")
    serial = Path(
        succeed(verb, *DATA, *command, "--jobs", "1", "--out", tmp_path, "--cache", tmp_path / "c").json["run"]
    )
    for i in (1, 2):
        machines.start(i)
    said, tmp = tmp_path / "said.txt", machines.nodes / "0" / "tmp"
    words = [verb, *DATA, *command, "--cluster", machines.address, "--out", f"s3://bucket/{verb}"]
    with machines.commanded(words, said) as process:
        done: Callable[[], int] = lambda: len(list(tmp.glob(f".sonoforge-runs.*/*/{pieces}")))  # noqa: E731
        deadline = time.monotonic() + 300
        while done() < 2 or (dead := machines.busy()) is None:
            assert process.poll() is None and time.monotonic() < deadline, said.read_text()
            time.sleep(0.02)
        machines.kill(dead)
        assert process.wait(600) == 0, said.read_text()
    told = said.read_text()
    assert "machines 3, cores 3" in told and "files are sent" in told and "its task is done again" in told
    s3.invalidate_cache()
    (run,) = s3.ls(f"bucket/{verb}", detail=False)
    assert comparable(s3.cat_file(f"{run}/{table}")) == comparable((serial / table).read_bytes())
    assert s3.exists(f"{run}/results.json")
    assert not list(tmp.glob(".*")), "something was left"
