"""Ten thousand scans with the shipped bundle: bounded memory, killed half-way, resumed, each file answered once."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

import bundle_factory as factory

COUNT = int(os.environ.get("SONOFORGE_TEST_SCANS", "10000"))
MOST_BYTES = 500_000_000


def peak_bytes(process: subprocess.Popen[bytes]) -> int:
    """Wait for a process; return the most memory that it ever held."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="sends signals")
def test_ten_thousand_scans_survive_a_kill(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scans, table = tmp_path / "scans", tmp_path / "a.csv"
    scans.mkdir()
    for seed in range(50):
        Image.fromarray(factory.scan(seed, 500, 400)).save(tmp_path / f"{seed}.png")
    for number in range(COUNT):
        os.link(tmp_path / f"{number % 50}.png", scans / f"{number:05}.png")
    command = [sys.executable, "-m", "sonoforge.runtime.cli.main", "classify", str(scans), "--csv", str(table)]

    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (table.exists() and table.read_bytes().count(b"\n") > COUNT // 2):
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    first = peak_bytes(process)
    assert process.returncode == -signal.SIGKILL

    process = subprocess.Popen([*command, "--resume"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    second = peak_bytes(process)
    assert process.returncode == 0
    with capsys.disabled():
        print(f"\n{COUNT} scans: {first / 1e6:.0f} MB until killed, {second / 1e6:.0f} MB resumed")
    assert max(first, second) <= MOST_BYTES
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert Counter(row["file"] for row in rows) == Counter(str(scans / f"{number:05}.png") for number in range(COUNT))
    assert all(row["ok"] == "true" for row in rows)
