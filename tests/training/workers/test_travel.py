"""Tasks on a machine that does not see the run folder: what they take along, and what comes back."""

from __future__ import annotations

from pathlib import Path

import pytest

from sonoforge.runtime import atomic
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.data.load import ImageSource
from sonoforge.training.run_folder import package_versions
from sonoforge.training.workers.ray_cluster import Home, _gpu_share, check_cluster, do_task
from sonoforge.training.workers.travel import pack, read_files, unpack, write_files
from trial_tasks import doubles


def test_paths_of_the_run_folder_follow_it_and_others_stay(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    value = {"fold": here / "folds" / "a.json", "all": [here], "other": tmp_path / "data"}
    expected = {"fold": there / "folds" / "a.json", "all": [there], "other": tmp_path / "data"}
    assert unpack(pack(value, here), there) == expected


def test_decoded_images_lie_in_the_folder_of_each_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SONOFORGE_CACHE", str(tmp_path / "here"))
    named = ImageSource(("scans",), 240, 0, tmp_path / "named")
    packed = pack([ImageSource(("scans",), 240, 0, tmp_path / "here"), named], tmp_path / "run")
    (tmp_path / "here").mkdir()
    assert unpack(packed, tmp_path / "run")[0].cache == tmp_path / "here"
    (tmp_path / "here").rmdir()
    monkeypatch.setenv("SONOFORGE_CACHE", str(tmp_path / "there"))
    own, other = unpack(packed, tmp_path / "run")
    assert own.cache == tmp_path / "there" and own.cache.stat().st_mode & 0o077 == 0
    assert other == named


def test_files_come_back_whole_and_the_log_grows(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "log.txt").write_text("first\n")
    (run / "kept").mkdir()
    files = {"log.txt": b"second\n", "gan/a/step/net": b"1", "gan/a/results.json": b"2", "kept/results.json": b"3"}
    write_files(run, files)
    assert (run / "log.txt").read_text() == "first\nsecond\n"
    assert read_files(run, [run / "gan", run / "kept", run / "none"]) == {
        name: content for name, content in files.items() if name != "log.txt"
    }
    assert not list(run.rglob(".*"))


@pytest.mark.parametrize("name", ["../outside", "/outside", "a/../../outside"])
def test_nothing_is_written_outside_the_run_folder(name: str, tmp_path: Path) -> None:
    with pytest.raises(SonoforgeError, match="outside the run folder"):
        write_files(tmp_path, {name: b""})


@pytest.fixture
def home(tmp_path: Path) -> Home:
    run = tmp_path / "run"
    run.mkdir()
    (run / "numbers").write_bytes(b"12")
    seen = atomic.temporary_name(run / "seen")
    seen.touch()
    return Home(run, seen, Path.cwd(), package_versions())


def test_a_task_works_in_the_run_folder_where_it_is_seen(home: Home) -> None:
    work = pack((doubles, [home.folder / "numbers"]), home.folder)
    result, files = unpack(do_task(work, 0, home, None), home.folder)
    assert result.read_bytes() == b"1212" and result.is_relative_to(home.folder)
    assert not files


def test_elsewhere_it_asks_for_files_and_sends_back_what_it_wrote(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(ray, "get", lambda places: places)  # the files themselves, without a cluster
    home.seen.unlink()
    work = pack((doubles, [home.folder / "numbers"]), home.folder)
    assert do_task(work, 0, home, None) == b""
    result, files = unpack(do_task(work, 0, home, {"numbers": b"34"}), home.folder)
    assert result == home.folder / "made" / "numbers" and not result.exists()
    assert files == {"made/numbers": b"3434", "log.txt": b"doubled numbers\n"}


def test_a_machine_with_another_torch_is_named_and_refused(home: Home) -> None:
    other = Home(home.folder, home.seen, home.directory, {**home.versions, "torch": "1.0"})
    with pytest.raises(SonoforgeError, match=r"torch \d.*, not 1\.0"):
        do_task(b"", 0, other, None)


def test_how_a_gpu_is_shared() -> None:
    assert _gpu_share(1, 1) == _gpu_share(2, 4) == 1
    for jobs, gpus, together in ((8, 2, 4), (3, 1, 3), (7, 2, 4), (100, 3, 34)):
        assert together == int(1 / _gpu_share(jobs, gpus))


def test_one_gpu_of_a_cluster_is_refused() -> None:
    with pytest.raises(SonoforgeError, match="Ray assigns the GPUs"):
        check_cluster("local", "cuda:1")


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SonoforgeError, match=r"ray is not installed; pip install 'sonoforge\[cluster\]'"):
        check_cluster("local", "auto")
