"""The container: built by its recipe on stand-ins of its base images, and run with a read-only file system."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from PIL import Image

from bundle_factory import scan
from places import CHECKOUT
from sonoforge.runtime.inference.classifier import Classifier

pytestmark = pytest.mark.slow  # Debian's packages are unpacked, and the image is built

STAND_INS = Path(__file__).with_name("stand_in_images.sh")
LOCKED = ("--read-only", "--tmpfs", "/tmp", "--cap-drop", "all", "--security-opt", "no-new-privileges")
ROOM = 4_000_000_000  # bytes that the images take at most
LIMITS = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096")  # podman's own may be above this machine's


class Podman(NamedTuple):
    """A podman with images of its own: the stand-ins bear the names of others."""

    command: tuple[str, ...]

    def __call__(self, *words: str, fails: bool = False) -> str:
        done = subprocess.run([*self.command, *words], capture_output=True, text=True, timeout=600)
        assert bool(done.returncode) is fails, (words, done.stdout[-2000:], done.stderr[-2000:])
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def podman() -> Iterator[Podman]:
    """The image ``sonoforge``, built; in memory where there is room, as Debian's tools wait for the disk."""
    lacking = [tool for tool in ("podman", "debootstrap", "runc", "npm", "git") if shutil.which(tool) is None]
    if lacking or os.getuid():
        pytest.skip(f"needs root, and Debian's podman, runc and debootstrap, and npm (here without {lacking})")
    memory = Path("/dev/shm")
    in_memory = memory.is_dir() and shutil.disk_usage(memory).free > ROOM
    folder = Path(tempfile.mkdtemp(prefix="sonoforge-container-", dir=memory if in_memory else None))
    own = ("--root", str(folder / "images"), "--runroot", str(folder / "run"), "--runtime", "runc")
    made = Podman(("podman", *own))
    try:
        done = subprocess.run([STAND_INS, folder, *made.command], capture_output=True, text=True, timeout=900)
        if done.returncode:
            pytest.skip(f"no stand-ins of the base images can be made: {done.stderr[-300:]}")
        source = folder / "source"  # what git knows: no virtual environment
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=CHECKOUT, capture_output=True, check=True).stdout
        for name in filter(None, listed.decode().split("\0")):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(CHECKOUT / name, source / name, follow_symlinks=False)
        built = ("--isolation", "chroot", "--network", "host", "--pull=never", "--format", "docker")
        made("build", *built, "-f", str(source / "mobile" / "Containerfile"), "-t", "sonoforge", str(source))
        yield made
    finally:
        subprocess.run([*made.command, "rm", "--all", "--force", "--time", "0"], capture_output=True)
        subprocess.run([*made.command, "rmi", "--all", "--force"], capture_output=True)
        shutil.rmtree(folder, ignore_errors=True)


def test_without_a_network_it_gives_the_recorded_answers(podman: Podman) -> None:
    assert "passed" in podman("run", "--rm", *LOCKED, *LIMITS, "--network", "none", "sonoforge", "verify")


@pytest.fixture(scope="module")
def port(podman: Podman) -> int:
    """A port of this machine at which the container serves."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    podman("run", "-d", "--name", "served", *LOCKED, *LIMITS, "-p", f"127.0.0.1:{port}:8765", "sonoforge")
    for _ in range(100):
        time.sleep(0.2)
        done = subprocess.run([*podman.command, "healthcheck", "run", "served"], capture_output=True)
        if done.returncode == 0:
            return port
    pytest.fail(f"never healthy: {podman('logs', 'served')}")


def test_it_answers_as_python_does(port: int, tmp_path: Path) -> None:
    file = tmp_path / "scan.png"
    Image.fromarray(scan(1)).save(file)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/classify", file.read_bytes(), timeout=60) as answer:
        found = json.load(answer)
    expected = Classifier().classify(file).to_dict()
    assert found["label"] == expected["label"]
    assert found["probabilities"] == pytest.approx(expected["probabilities"], abs=1e-6)


def test_it_has_no_privileges_no_shell_and_nothing_to_write_on(podman: Podman, port: int) -> None:
    def python(code: str) -> str:
        return podman("exec", "served", "python3", "-c", code).strip()

    assert python("import os; print(os.getuid())") == "65532"
    assert python("print(open('/proc/self/status').read().partition('CapEff:')[2].split()[0])") == 16 * "0"
    for folder in ("/app", "/home/nonroot", "/etc"):
        podman("exec", "served", "python3", "-c", f"open('{folder}/new', 'w')", fails=True)
    assert python("open('/tmp/new', 'w'); print('written')") == "written"
    podman("exec", "served", "sh", "-c", "true", fails=True)


def test_it_ends_by_itself_when_it_is_stopped(podman: Podman, port: int) -> None:
    began = time.monotonic()
    podman("stop", "--time", "30", "served")
    assert time.monotonic() - began < 20
    assert podman("inspect", "--format", "{{.State.ExitCode}}", "served").strip() == "0"
