"""Ten thousand scans with the shipped bundle: bounded memory, killed half-way, resumed, each file answered once."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

import bundle_factory as factory

COUNT = int(os.environ.get("SONOFORGE_TEST_SCANS", "10000"))
MOST_BYTES = 500_000_000


def peak_bytes(process: subprocess.Popen[bytes], until: Callable[[], bool]) -> int:
    """Wait; return the most memory that a process ever held, without what it shared with this one before it began."""
    most = 0
    while not until():
        status = Path(f"/proc/{process.pid}/status").read_text()
        most = max(most, 1024 * int(status.partition("VmHWM:")[2].split()[0])) if "VmHWM:" in status else most
        time.sleep(0.2)
    return most


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="sends signals, and reads /proc")
def test_ten_thousand_scans_survive_a_kill(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scans, table = tmp_path / "scans", tmp_path / "a.csv"
    scans.mkdir()
    for seed in range(50):
        Image.fromarray(factory.scan(seed, 500, 400)).save(tmp_path / f"{seed}.png")
    for number in range(COUNT):
        os.link(tmp_path / f"{number % 50}.png", scans / f"{number:05}.png")
    command = [sys.executable, "-m", "sonoforge.runtime.cli.main", "classify", str(scans), "--csv", str(table)]

    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def is_half_done() -> bool:
        return process.poll() is not None or (table.exists() and table.read_bytes().count(b"\n") > COUNT // 2)

    first = peak_bytes(process, is_half_done)
    assert process.poll() is None, "it ended before it could be killed"
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL

    process = subprocess.Popen([*command, "--resume"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    second = peak_bytes(process, lambda: process.poll() is not None)
    assert process.returncode == 0
    with capsys.disabled():
        print(f"\n{COUNT} scans: {first / 1e6:.0f} MB until killed, {second / 1e6:.0f} MB resumed")
    assert max(first, second) <= MOST_BYTES
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert Counter(row["file"] for row in rows) == Counter(str(scans / f"{number:05}.png") for number in range(COUNT))
    assert all(row["ok"] == "true" for row in rows)
