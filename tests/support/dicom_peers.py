"""DCMTK's programs, which speak DICOM over the network, and scans for them to send."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import UltrasoundImageStorage

import dicom_files

ROOT = "1.2.826.0.1.3680043.8.498"
STUDY = f"{ROOT}.1"
_PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin"))


def needs(*programs: str) -> None:
    """Skip where one is not installed."""
    for program in programs:
        if shutil.which(program, path=_PATH) is None:
            pytest.skip(f"{program} is not installed (Debian: dcmtk)")


def write_scans(folder: Path, count: int, first: int = 1) -> list[Path]:
    """Write stills of one study, each with the planted name in every text."""
    folder.mkdir(parents=True, exist_ok=True)
    return [write_scan(folder / f"{number:04}.dcm", number) for number in range(first, first + count)]


def write_scan(path: Path, number: int, height: int = 90, width: int = 120, **elements: object) -> Path:
    """Write one still; an element of None is left out."""
    file = dicom_files.plant(dicom_files.data_set(dicom_files.scan(1, height, width, seed=number)))
    uid = f"{STUDY}.1.{number}"
    own = {"StudyInstanceUID": STUDY, "SeriesInstanceUID": f"{STUDY}.1", "SOPInstanceUID": uid, "Modality": "US"}
    own |= {"SOPClassUID": UltrasoundImageStorage, "InstanceNumber": number, "NumberOfFrames": None, **elements}
    for name, value in own.items():
        if value is None:
            if name in file:
                delattr(file, name)
        else:
            setattr(file, name, value)
    file.file_meta.MediaStorageSOPClassUID = own["SOPClassUID"]
    file.file_meta.MediaStorageSOPInstanceUID = uid
    return dicom_files.save(file, path)


def storescu(port: int, *arguments: object, title: str = "US1", to: str = "SONOFORGE") -> subprocess.Popen[str]:
    """Start DCMTK's sender; files and options of its own are arguments."""
    command = ["storescu", "-aet", title, "-aec", to, "127.0.0.1", port, *arguments]
    return subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def said(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit code and all that a program said."""
    out, _ = process.communicate(timeout=300)
    return process.returncode, out


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(condition: Callable[[], Any], seconds: float = 120) -> Any:
    """Return what a condition gives once it is true."""
    until = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.02)
    return found


def listens(port: int) -> bool:
    """Whether something takes connections at a port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Listener:
    """``sonoforge listen`` in a process of its own."""

    def __init__(self, log: Path, *arguments: object) -> None:
        self._log = log
        command = [sys.executable, "-u", "-m", "sonoforge.runtime.cli.main", "listen", *arguments]
        command += [] if "--port" in arguments else ["--port", "0"]
        with log.open("w") as stream:
            self.process = subprocess.Popen([*map(str, command)], stdout=stream, stderr=subprocess.STDOUT)
        self.port = int(wait_for(self._found_port)[1])

    def _found_port(self) -> re.Match[str] | None:
        assert self.process.poll() is None, self.log
        return re.search(r"^listening .*:(\d+) ", self.log, re.MULTILINE)

    @property
    def log(self) -> str:
        """All that it said."""
        return self._log.read_text()

    def kill(self) -> None:
        """End it as a power cut would, but for what the system still holds."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(60)

    def end(self) -> int:
        """End it as it is meant to be ended; return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(120)


@contextlib.contextmanager
def listening(log: Path, *arguments: object) -> Iterator[Listener]:
    """Run ``sonoforge listen`` while inside."""
    listener = Listener(log, *arguments)
    try:
        yield listener
    finally:
        listener.kill()


@contextlib.contextmanager
def storescp(folder: Path, port: int) -> Iterator[None]:
    """DCMTK's archive of the simplest kind: it writes each object that it is sent into a folder."""
    folder.mkdir(exist_ok=True)
    program = shutil.which("storescp", path=_PATH) or "storescp"
    command = [program, "-od", str(folder), "-aet", "ARCHIVE", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: listens(port))
        yield
    finally:
        process.terminate()
        process.wait(60)
