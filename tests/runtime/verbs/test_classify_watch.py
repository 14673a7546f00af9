"""``sonoforge classify --watch``: each scan that appears in a folder is answered once, when it is whole."""

from __future__ import annotations

import csv
import os
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import bundle_factory as factory
import processes
from program import sonoforge
from sonoforge.runtime.cli.answer_table import AnswerTable
from sonoforge.runtime.images import inputs


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    Image.fromarray(factory.scan(1)).save(tmp_path / "scan.png")
    return tmp_path / "scan.png"


@pytest.fixture
def incoming(tmp_path: Path) -> Path:
    (tmp_path / "incoming").mkdir()
    return tmp_path / "incoming"


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "LOOK_SECONDS", 0.01)


def test_a_file_is_taken_when_it_is_whole_and_once(incoming: Path, scan: Path) -> None:
    looks = inputs.whole_files(str(incoming), recursive=False)
    data, target = scan.read_bytes(), incoming / "a.png"
    assert next(looks) == []
    target.write_bytes(b"")
    assert [next(looks), next(looks)] == [[], []]  # empty: its writer has not begun
    target.write_bytes(data[:50])
    assert next(looks) == []  # seen for the first time
    target.write_bytes(data[:100])
    assert next(looks) == []  # it grew
    target.write_bytes(data)
    assert next(looks) == []
    assert next(looks) == [str(target)]
    assert [next(looks) for _ in range(3)] == [[]] * 3
    Image.fromarray(factory.scan(2)).save(target)  # another scan of that name
    assert [next(looks), next(looks), next(looks)] == [[], [str(target)], []]


def test_what_is_no_scan_is_not_taken(incoming: Path, scan: Path) -> None:
    (incoming / "deeper").mkdir()
    for name in ("a.png", "a_mask.png", "b.txt", ".c.png", "deeper/d.png"):
        shutil.copy(scan, incoming / name)
    looks = inputs.whole_files(str(incoming), recursive=False)
    assert [next(looks), next(looks)] == [[], [str(incoming / "a.png")]]
    looks = inputs.whole_files(str(incoming), recursive=True)
    assert [next(looks), next(looks)] == [[], [str(incoming / "a.png"), str(incoming / "deeper" / "d.png")]]


def test_a_folder_that_goes_away_is_waited_for(incoming: Path, scan: Path, caplog: pytest.LogCaptureFixture) -> None:
    looks = inputs.whole_files(str(incoming), recursive=False)
    assert next(looks) == []
    incoming.rmdir()
    assert [next(looks), next(looks)] == [[], []]
    incoming.mkdir()
    shutil.copy(scan, incoming / "a.png")
    assert [next(looks), next(looks)] == [[], [str(incoming / "a.png")]]
    assert [record.getMessage().partition(": ")[2] for record in caplog.records] == [
        "cannot be read now; waiting for it",
        "is back",
    ]


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="sends signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_end_it_as_a_command_that_is_done(
    number: signal.Signals, bundle: Path, incoming: Path, scan: Path, tmp_path: Path
) -> None:
    def rows() -> list[dict[str, str]]:
        with table.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    table, lines, log = tmp_path / "a.csv", tmp_path / "a.jsonl", tmp_path / "log"
    shutil.copy(scan, incoming / "0.png")
    command = ("classify", "--watch", incoming, "--bundle", bundle, "--csv", table, "--jsonl", lines)
    process = processes.start(log, *command)
    processes.wait_until(lambda: table.exists() and len(rows()) == 1, process)
    shutil.copy(scan, incoming / "1.png")
    (incoming / "2.png").write_bytes(b"junk")
    processes.wait_until(lambda: len(rows()) == lines.read_text().count("\n") == 3, process)
    os.kill(process.pid or 0, number)
    process.join(300)
    assert process.exitcode == 2  # as one file could not be answered
    assert [(Path(row["file"]).name, row["ok"]) for row in rows()] == [
        ("0.png", "true"),
        ("1.png", "true"),
        ("2.png", "false"),
    ]
    assert len(lines.read_text().splitlines()) == 3
    assert f"watching {incoming}; Ctrl-C ends it\n" in log.read_text()
    assert f"written: {table}\n" in log.read_text()

    shutil.copy(scan, incoming / "3.png")
    process = processes.start(log, *command, "--resume")
    processes.wait_until(lambda: len(rows()) == 4, process)
    os.kill(process.pid or 0, number)
    process.join(300)
    assert process.exitcode == 0
    assert [Path(row["file"]).name for row in rows()] == ["0.png", "1.png", "2.png", "3.png"]


def test_an_end_before_the_last_line_is_printed_still_tells_of_its_failure(
    bundle: Path, incoming: Path, scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: AnswerTable, entry: Mapping[str, Any]) -> None:
        if entry["ok"]:
            shown(self, entry)
        else:
            raise KeyboardInterrupt

    shown = AnswerTable.show
    monkeypatch.setattr(AnswerTable, "show", interrupted)
    shutil.copy(scan, incoming / "0.png")
    (incoming / "1.png").write_bytes(b"junk")
    table = tmp_path / "a.csv"
    done = sonoforge("classify", "--watch", incoming, "--bundle", bundle, "--csv", table)
    with table.open(encoding="utf-8", newline="") as file:
        assert [row["ok"] for row in csv.DictReader(file)] == ["true", "false"]
    assert done.code == 2
    assert "1 of 2 files answered" in done.out + done.err
