"""Decoded images are patients' images: who may read them, how much space they take, and how they go."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from program import succeed
from scans import write_set
from sonoforge.training.data.cache import CacheSettings, open_cache, prune
from sonoforge.training.data.datasets import read_dataset


def fill(path: Path, size: int, used: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    os.utime(path, (used, used))
    return path


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no permissions of this kind")
def test_a_new_folder_is_its_owner_s_alone_and_one_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    folder = CacheSettings(str(tmp_path / "new" / "images")).open()
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o755)
    assert CacheSettings(str(folder)).open().stat().st_mode & 0o777 == 0o755


def test_the_least_recently_used_go_first_and_nothing_of_others_is_touched(tmp_path: Path) -> None:
    old = fill(tmp_path / "format1" / "images-8" / "a.bin", 600, 1000)
    new = fill(tmp_path / "features" / "b.bin", 600, 3000)
    middle = fill(tmp_path / "format1" / "sets-8" / "c.bin", 600, 2000)
    foreign = fill(tmp_path / "thesis.docx", 5000, 10)
    simulated = fill(tmp_path / "phantom-30" / "d.png", 900, 20)
    assert prune(tmp_path, 1800) == 0
    assert prune(tmp_path, 1799) == 600
    assert not old.exists() and middle.exists() and new.exists()
    assert prune(tmp_path, 0) == 1200
    assert foreign.exists() and simulated.exists()


def test_what_is_read_counts_as_used(tmp_path: Path) -> None:
    dataset = read_dataset(write_set(tmp_path / "set", {"a": 2, "b": 2}))
    open_cache(dataset, 32, tmp_path / "cache")
    (kept,) = (tmp_path / "cache").glob("format*/sets-32/*.bin")
    os.utime(kept, (1000, 1000))
    images = open_cache(dataset, 32, tmp_path / "cache").images.copy()
    assert kept.stat().st_mtime > 1000
    assert prune(tmp_path / "cache", kept.stat().st_size) > 0
    assert kept.exists()
    assert (open_cache(dataset, 32, tmp_path / "cache").images == images).all()


def test_none_keeps_no_image_when_the_command_ends(tmp_path: Path) -> None:
    data = write_set(tmp_path / "set", {"a": 4, "b": 4})
    temporary, kept = tmp_path / "temporary", tmp_path / "kept"
    temporary.mkdir()
    killed = temporary / ".sonoforge-images.0123456789ab.sonoforge-tmp"  # what a killed command left
    fill(killed / "image.bin", 10, 1000)
    audit = ["data", "audit", "--data", data, "--set", "cache.folder=none"]
    command = [sys.executable, "-m", "sonoforge.runtime.cli.main", *audit]
    environment = {**os.environ, "TMPDIR": str(temporary), "SONOFORGE_CACHE": str(kept)}
    done = subprocess.run([*map(str, command), "--json"], capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    assert list(temporary.iterdir()) == []
    assert not kept.exists()


def test_the_verb_counts_and_removes_what_is_the_program_s(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    assert succeed("data", "list", "--set", f"cache.folder={cache}").json["cache"] == {
        "folder": str(cache), "files": 0, "bytes": 0, "removed": False
    }  # fmt: skip
    succeed("data", "audit", "--data", "phantom", "--set", "phantom.images=30", "--set", f"cache.folder={cache}")
    foreign = fill(cache / "thesis.docx", 5000, 10)
    found = succeed("data", "list", "--set", f"cache.folder={cache}").json["cache"]
    files = [path for path in cache.rglob("*") if path.is_file() and path != foreign]
    assert found["files"] == len(files) > 60
    assert found["bytes"] == sum(path.stat().st_size for path in files)
    assert succeed("data", "list", "--set", f"cache.folder={cache}", "--clear-cache").json["cache"]["removed"]
    assert list(cache.iterdir()) == [foreign]
