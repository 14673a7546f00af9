"""Atomic writes: whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import bundle_factory as factory
from program import sonoforge
from sonoforge.runtime import atomic
from sonoforge.runtime.errors import SonoforgeError


def test_a_folder_takes_its_name_when_it_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "new" / "set"
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


KILLED = """
import os, shutil, signal, sys
from pathlib import Path
from sonoforge.runtime import atomic

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

def die_in_removal(path, **_):
    (Path(path) / "a").unlink()
    die()

target, moment = Path(sys.argv[1]), sys.argv[2]
rename, calls = Path.rename, []

def rename_and_die(self, other):
    calls.append(other)
    if moment == f"before rename {len(calls)}":
        die()
    return rename(self, other)

Path.rename = rename_and_die
shutil.rmtree = die_in_removal
if moment == "removal":
    atomic.remove_folder(target)
elif moment == "file":
    with atomic.replacing(target / "a") as file:
        file.write(b"half")
        file.flush()
        die()
else:
    with atomic.replacing_folder(target) as folder:
        (folder / "a").write_text("new")
        (folder / "b").write_text("new")
        if moment == "filling":
            die()
"""


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX")
@pytest.mark.parametrize(
    ("moment", "found"),
    [
        ("filling", "old"),
        ("before rename 1", "old"),
        ("before rename 2", "old"),  # the old folder has no name, and gets it back
        ("in the removal of the old one", "new"),
        ("file", "old"),
        ("removal", None),
    ],
)
def test_a_kill_leaves_all_or_nothing_and_the_next_writer_removes_the_rest(
    tmp_path: Path, moment: str, found: str | None
) -> None:
    def listed() -> list[str]:
        return [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))]

    target = tmp_path / "set"
    target.mkdir()
    (target / "a").write_text("old")
    command = [sys.executable, "-c", KILLED, str(target), moment]
    assert subprocess.run(command, check=False, timeout=300).returncode == -signal.SIGKILL
    assert list(tmp_path.rglob(".*sonoforge-*")), "the kill left nothing: the test proves nothing"
    if moment == "file":  # the first write into a folder removes what is left there
        atomic.write_text(target / "b", "x")
        assert listed() == ["set", "set/a", "set/b"]
        (target / "b").unlink()
    for folder in (tmp_path, target):
        atomic.remove_leftovers(folder)
    assert listed() == {None: [], "old": ["set", "set/a"], "new": ["set", "set/a", "set/b"]}[found]
    if found:
        assert (target / "a").read_text() == found
    with atomic.replacing_folder(target) as folder:
        (folder / "c").touch()
    assert listed() == ["set", "set/c"]


WRITING = """
import sys
from pathlib import Path
from sonoforge.runtime import atomic
folder = Path(sys.argv[1])
with atomic.replacing(folder / "file") as file, atomic.replacing_folder(folder / "set") as fresh:
    file.write(b"all of it")
    (fresh / "a").write_text("all of it")
    print("ready", flush=True)
    sys.stdin.readline()
"""


@pytest.mark.skipif(os.name != "posix", reason="processes claim nothing on other systems, and nothing is removed")
def test_what_a_living_process_writes_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / ".b.0123456789ab.sonoforge-tmp").touch()  # of none
    (tmp_path / ".c.0123456789ab.tmp").touch()  # of somebody else
    command = [sys.executable, "-c", WRITING, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin and process.stdout
        assert process.stdout.readline() == "ready\n"
        atomic.remove_leftovers(tmp_path)
        with atomic.replacing_folder(tmp_path / "set") as folder:  # another writer of the same folder
            (folder / "a").write_text("mine")
        process.communicate("\n", timeout=300)
    assert process.returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [".c.0123456789ab.tmp", "file", "set"]
    assert (tmp_path / "file").read_text() == (tmp_path / "set" / "a").read_text() == "all of it"


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


@dataclass(frozen=True)
class Point:
    x: float
    path: Path


def test_json_is_strict(tmp_path: Path) -> None:
    values = {  # and what they are read as
        "array": (np.arange(3, dtype=np.int64), [0, 1, 2]),
        "scalar": (np.float32(0.5), 0.5),
        "nan": (float("nan"), None),
        "inside": ([np.array([1.0, np.inf])], [[1.0, None]]),
        "point": (Point(1.5, Path("a") / "b"), {"x": 1.5, "path": "a/b"}),
        "set": ({3, 1, 2}, [1, 2, 3]),
        "text": ("é \udcff", "é \udcff"),
    }
    atomic.write_json(tmp_path / "a.json", {1: (True, None), **{key: given for key, (given, _) in values.items()}})

    def refuse(name: str) -> None:
        raise AssertionError(name)

    found = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"), parse_constant=refuse)
    assert found == {"1": [True, None], **{key: read for key, (_, read) in values.items()}}
    with pytest.raises(TypeError, match="object has no JSON form"):
        atomic.plain(object())


def test_a_folder_that_another_process_filled_meanwhile_stays_where_a_new_one_was_expected(tmp_path: Path) -> None:
    target = tmp_path / "set"
    with pytest.raises(SonoforgeError, match="set"), atomic.replacing_folder(target, new=True) as folder:
        (folder / "own").touch()
        target.mkdir()
        (target / "other").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["set", "other"]
    empty = tmp_path / "empty"
    empty.mkdir()
    with atomic.replacing_folder(empty, new=True) as folder:
        (folder / "own").touch()
    assert (empty / "own").is_file()


def test_json_for_a_reader_has_on_one_line_what_fits_there() -> None:
    values = {"a": [1, 2.5, None], "row": {"before": 0.1, "change": [0.1, -0.2]}, "none": {}, "long": [1] * 60}
    text = atomic.laid_out({**values, "entries": [values, "x" * 200]})
    assert json.loads(text) == {**values, "entries": [values, "x" * 200]}
    lines = text.splitlines()
    assert lines[:3] == ["{", '  "a": [1, 2.5, null],', '  "row": {"before": 0.1, "change": [0.1, -0.2]},']
    assert max(len(line) for line in lines if "x" * 200 not in line) <= 120
    fits = [10 ** (120 - 2 - 2 - 1 - 1)]  # indented, in brackets, with a comma: 120
    assert len(atomic.laid_out([fits, 0]).splitlines()[1]) == 120
    assert len(atomic.laid_out([[fits[0] * 10], 0]).splitlines()) > 4


LONG = [
    "a" * 251,
    "a" * 250 + "b",
    "x" * 100 + "1" + "y" * 150,
    "x" * 100 + "2" + "y" * 150,
    "\u00fc" * 125,
    "\u00fc" * 124,
    "e\u0301" * 80,
    "\N{GRINNING FACE}" * 62,
    b"\xff".decode(errors="surrogateescape") * 250,  # as Python lists a file whose name is not UTF-8
    "aux." + "a" * 240,
]


def test_names_made_from_long_ones_fit_with_any_ending_and_stay_different() -> None:
    made = [atomic.safe_name(name) for name in LONG]
    assert len({name.casefold() for name in made}) == len(LONG)
    assert max(len(os.fsencode(name)) for name in made) <= 100
    assert made == [atomic.safe_name(name) for name in LONG]
    assert [name for name in made if name.startswith("aux.")] == []
    for length in (1, 99, 100):
        assert atomic.safe_name("b" * length) == "b" * length
    assert atomic.safe_name("scan (1) \u00fc.v2") == "scan (1) \u00fc.v2"
    slices = [atomic.safe_name("v" * 200 + f"_slice{number:03d}") for number in range(12)]
    assert sorted(slices) == slices


@pytest.mark.parametrize("name", ["con", "AUX", "nul.x", "Com1", "lpt9.tar"])
def test_no_name_is_one_that_windows_reserves(name: str) -> None:
    reserved = {"con", "aux", "nul", "com1", "lpt9"}
    assert atomic.safe_name(name).lower().split(".")[0] not in reserved
    for other in ("console", "my aux", "com", "nul-1"):
        assert atomic.safe_name(other) == other


@pytest.mark.parametrize("name", [name for name in LONG if "a" not in name])
def test_a_file_of_a_long_name_is_written(tmp_path: Path, name: str) -> None:
    atomic.write_bytes(tmp_path / name, b"x")
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.skipif(os.name != "posix", reason="makes a pipe with a name")
def test_a_pipe_is_written_to_and_keeps_its_name(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    read = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    atomic.write_bytes(tmp_path / "pipe", b"whole")
    assert os.read(read, 9) == b"whole"
    os.close(read)
    assert (tmp_path / "pipe").is_fifo()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_full_disk_is_one_line_of_the_command(code: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = factory.write_bundle(tmp_path / "b")
    factory.add_file(folder, "model.int8.onnx", factory.model_bytes(), "onnx-int8", "int8")

    def full(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(np, "save", full)
    found = sonoforge("verify", folder)
    assert found.code == 1 and os.strerror(code) in found.said and "TMPDIR" in found.said
