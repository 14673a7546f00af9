"""Atomic writes: whole or not at all."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from sonoforge.runtime import atomic
from sonoforge.runtime.errors import SonoforgeError


def test_round_trip_and_parents(tmp_path: Path) -> None:
    target = tmp_path / "new" / "deep" / "a.bin"
    atomic.write_bytes(target, b"\x00\xff")
    assert target.read_bytes() == b"\x00\xff"
    atomic.write_text(str(target), "é\n")
    assert target.read_bytes() == b"\xc3\xa9\n"
    assert [item.name for item in target.parent.iterdir()] == ["a.bin"]


def test_a_folder_takes_its_name_when_it_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "new" / "set"
    (tmp_path / "new" / ".partial-set").mkdir(parents=True)  # of a process that was killed
    (tmp_path / "new" / ".partial-set" / "old").touch()
    for content in ("first", "second"):
        with atomic.replacing_folder(target) as folder:
            (folder / "a").write_text(content, encoding="utf-8")
            assert not (target / "a").exists() or (target / "a").read_text(encoding="utf-8") == "first"
    assert (target / "a").read_text(encoding="utf-8") == "second"
    full = pytest.raises(SonoforgeError, match=r"set: cannot be written \(No space left on device\)")
    with full, atomic.replacing_folder(target):
        raise OSError(28, "No space left on device")
    assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))] == [
        "new",
        "new/set",
        "new/set/a",
    ]


def test_a_folder_is_written_where_the_file_system_cannot_sync_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync = os.fsync

    def refuse(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(22, "Invalid argument")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", refuse)
    with atomic.replacing_folder(tmp_path / "set") as folder:
        (folder / "a").touch()
    assert (tmp_path / "set" / "a").is_file()


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failure_leaves_the_old_file_and_no_remains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old", encoding="utf-8")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*((os, "fsync") if step == "fsync" else (Path, "replace")), fail)
    with pytest.raises(SonoforgeError, match=r"a.txt: cannot be written \(No space left on device\)"):
        atomic.write_text(target, "new")
    assert target.read_text(encoding="utf-8") == "old"
    assert [item.name for item in tmp_path.iterdir()] == ["a.txt"]


def test_the_content_is_synced_before_it_takes_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (events.append(("sync", os.fstat(fd).st_size)), fsync(fd))[1])
    monkeypatch.setattr(Path, "replace", lambda a, b: (events.append(("rename", 0)), replace(a, b))[1])
    atomic.write_bytes(tmp_path / "a", b"12345")
    assert events[:2] == [("sync", 5), ("rename", 0)]


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        atomic.write_text(tmp_path / "a", "x")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


def test_a_folder_in_the_way_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SonoforgeError, match="cannot be written"):
        atomic.write_text(tmp_path, "x")


@dataclass(frozen=True)
class Point:
    x: float
    path: Path


def test_json_is_strict(tmp_path: Path) -> None:
    value = {
        "array": np.arange(3, dtype=np.int64),
        "scalar": np.float32(0.5),
        "nan": float("nan"),
        "inside": [np.array([1.0, np.inf])],
        "point": Point(1.5, Path("a") / "b"),
        1: (True, None),
        "set": {3, 1, 2},
        "text": "é \udcff",
    }
    atomic.write_json(tmp_path / "a.json", value)

    def refuse(name: str) -> None:
        raise AssertionError(name)

    found = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"), parse_constant=refuse)
    assert found == {
        "array": [0, 1, 2],
        "scalar": 0.5,
        "nan": None,
        "inside": [[1.0, None]],
        "point": {"x": 1.5, "path": "a/b"},
        "1": [True, None],
        "set": [1, 2, 3],
        "text": "é \udcff",
    }
    with pytest.raises(TypeError, match="object has no JSON form"):
        atomic.plain(object())
