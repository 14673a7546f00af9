"""An object leaves the inbox only with its answers on the disk, and under the names of its UIDs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("pydicom", reason="DICOM is an extra: pip install 'sonoforge[dicom]'")

import dicom_peers
from dicom_peers import STUDY
from sonoforge.runtime.dicom_network.inbox import Inbox
from sonoforge.runtime.errors import SonoforgeError

ROOM = 1_000_000


def test_what_is_named_after_files_is_named_after_uids(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path / "inbox", ROOM)
    first, second = (inbox.store(path.read_bytes())[0] for path in dicom_peers.write_scans(tmp_path, 2))
    for file in (first, second):
        assert inbox.answered({"file": str(file), "ok": True, "copy_of": str(first), "series": None})
    entry = json.loads((inbox.answers / f"{STUDY}.1.2.json").read_text())
    assert (entry["file"], entry["copy_of"], entry["series"]) == (f"{STUDY}.1.2", f"{STUDY}.1.1", None)
    assert entry["object"]["series"] == f"{STUDY}.1"
    assert inbox.waiting() == []


def test_an_object_stays_until_all_of_its_answer_is_written(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path / "inbox", ROOM)
    file, _ = inbox.store(dicom_peers.write_scan(tmp_path / "a.dcm", 1).read_bytes())
    assert inbox.answered({"file": str(file), "ok": True, "unwritten": ["no room"]}) is None
    assert json.loads((inbox.answers / f"{STUDY}.1.1.json").read_text())["unwritten"] == ["no room"]
    assert inbox.waiting() == [file]
    inbox.answers.rename(tmp_path / "aside")
    inbox.answers.write_text("no folder")
    with pytest.raises(SonoforgeError, match="cannot be written"):
        inbox.answered({"file": str(file), "ok": True})
    assert inbox.waiting() == [file]
