"""Runs at a URL: as in a folder here, resumed from there, and nothing of a password anywhere."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import fsspec
import pytest

from program import refused, sonoforge, succeed, understood
from scans import write_set
from small_run import SMALL
from sonoforge.training import remote_runs
from sonoforge.training.gan import engine

TINY = (
    *("gan", "train", "--class", "malignant", "--recipe", "dcgan", "--set", "gan.width=4", "--image-size", "32"),
    *("--set", "gan.batch=4", "--set", "gan.metrics=none", "--device", "cpu"),
)


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_set(tmp_path_factory.mktemp("scans") / "scans", {"benign": 6, "malignant": 6})


def contents(files: Any, root: str) -> dict[str, bytes]:
    files.invalidate_cache()
    return {path.partition(f"{root}/")[2]: files.cat_file(path) for path in files.find(root)}


def test_a_training_at_a_url_is_that_of_a_folder_and_goes_on_from_there(
    place: tuple[str, Any, str], scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, files, root = place
    here = Path(succeed(*TINY, "--data", scans, "--steps", "4", "--out", tmp_path / "runs").json["run"])
    command = (*TINY, "--data", scans, "--steps", "4", "--out", url)

    # Stopped after its second step, as by a limit of time.
    steps = iter(range(9))
    train = engine.train_gan
    with monkeypatch.context() as patch:
        stopping = lambda *given, **options: train(*given, **{**options, "stop": lambda: next(steps) >= 1})  # noqa: E731
        patch.setattr("sonoforge.training.jobs.generators.train_gan", stopping)
        first = succeed(*command)
    name = f"00000-{here.name.partition('-')[2]}"
    assert first.json["run"] == f"{url}/{name}" and not first.json["finished"]
    assert f"run folder {url}/{name}" in first.err and "sonoforge-tmp" not in first.err + first.out
    left = contents(files, f"{root}/{name}")
    assert "results.json" not in left and any("step-00000002" in path for path in left)
    # A part of a checkpoint, as a kill in the middle of a copy leaves it, is in no list and is not fetched.
    files.pipe_file(f"{root}/{name}/checkpoints/step-00000003/checkpoint.json", b"{}")

    done = succeed(*command, "--resume")
    assert done.json["finished"] and f"resuming {url}/{name}" in done.err
    made = contents(files, f"{root}/{name}")
    listed = json.loads(made["copied.json"])["files"]
    assert set(listed) < set(made) and "results.json" in listed
    for path in sorted((here / "checkpoints").rglob("*.safetensors")):
        assert made[str(path.relative_to(here))] == path.read_bytes(), path
    assert "already finished" in succeed(*command, "--resume").err
    assert succeed(*command, "--steps", "1").json["run"].rpartition("/")[2].startswith("00001-")
    everything = b"".join(contents(files, root).values())
    assert b"verysecret" not in everything and b"AKIAKEY" not in everything
    assert f"out: {url}".encode() in made["config.yaml"] and b"sonoforge-runs." not in everything


def test_two_machines_take_different_names(place: tuple[str, Any, str], scans: Path) -> None:
    """The other one takes its name after this one has looked."""
    url, files, root = place
    before = remote_runs.RemoteRuns._names

    def look(remote: remote_runs.RemoteRuns) -> list[str]:
        found = before(remote)
        files.makedirs(f"{root}/00000-gan-dcgan-scans-malignant", exist_ok=True)
        files.pipe_file(f"{root}/00000-gan-dcgan-scans-malignant/config.yaml", b"other: 1\n")
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(remote_runs.RemoteRuns, "_names", look)
        done = succeed(*TINY, "--data", scans, "--steps", "1", "--out", url)
    assert done.json["run"] == f"{url}/00001-gan-dcgan-scans-malignant"
    assert files.cat_file(f"{root}/00000-gan-dcgan-scans-malignant/config.yaml") == b"other: 1\n"


def test_what_cannot_be_copied_is_kept_here(scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr(type(fsspec.filesystem("memory")), "put_file", full)
    done = sonoforge(*TINY, "--data", scans, "--steps", "1", "--out", "memory://full", "--json", "--quiet")
    assert done.code == 2 and not done.out
    line = done.err
    assert "memory://full: cannot be used" in line and "No space left on device" in line
    (kept,) = tmp_path.glob("sonoforge-not-copied-*/00000-*")
    assert str(kept.parent) in line
    assert (kept / "results.json").is_file() and not list(tmp_path.glob(".*"))


def test_urls_that_cannot_be_used_are_one_line(s3: Any, scans: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = (*TINY, "--data", scans, "--steps", "1", "--out")
    assert "bucket does not exist" in refused(*command, "s3://nobody/runs")
    assert not s3.exists("nobody")
    line = refused(*command, "ftp://me:verysecret@host/runs")
    assert "credentials" in line and "verysecret" not in line
    assert "Protocol not known: s4" in refused(*command, "s4://bucket/runs")
    assert "is not installed; " in refused(*command, "gs://bucket/runs")
    assert "give a folder or file on this machine" in refused("export", "runs", "--out", "s3://bucket/x")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    type(s3).clear_instance_cache()
    assert "AWS_PROFILE" in refused(*command, "s3://bucket/runs")
    type(s3).clear_instance_cache()


@pytest.mark.slow
def test_kill_9_loses_no_fold_that_was_copied_and_trains_none_twice(s3: Any, tmp_path: Path) -> None:
    """A whole comparison; the resumed one begins with nothing on its disk."""
    serial = Path(succeed("crossval", *SMALL, "--jobs", "1", "--out", tmp_path / "serial").json["run"])
    url, root = f"s3://bucket/{tmp_path.name}", f"bucket/{tmp_path.name}"
    command = ["crossval", *map(str, SMALL), "--jobs", "2", "--out", url]
    victim = subprocess.Popen([sys.executable, "-m", "sonoforge.runtime.cli.main", *command, "--quiet"])
    deadline = time.monotonic() + 300

    def folds() -> dict[str, bytes]:
        s3.invalidate_cache()
        names = [path for path in s3.find(root) if "/folds/" in path]
        return {path.partition(f"{root}/")[2]: s3.cat_file(path) for path in names}

    while len(folds()) < 2:
        assert victim.poll() is None and time.monotonic() < deadline
        time.sleep(0.2)
    victim.kill()
    victim.wait()
    kept = folds()
    (run,) = {name.partition("/")[0] for name in kept}
    listed = set(json.loads(contents(s3, root)[f"{run}/copied.json"])["files"])
    done = succeed(*command, "--resume")
    assert done.json["run"] == f"{url}/{run}"
    made = contents(s3, root)
    assert made[f"{run}/predictions.csv"] == (serial / "predictions.csv").read_bytes()
    listed_folds = {name for name in listed if name.startswith("folds/")}
    assert listed_folds and all(made[f"{run}/{name}"] == kept[f"{run}/{name}"] for name in listed_folds)
    again = re.findall(r"INFO (\S+: fold \d+ of \d+ \(seed \d+\)): accuracy", done.err.replace("\n", "\nINFO "))
    assert len(again) == 6 - len(listed_folds)
    assert not any("features" in name or "sonoforge-tmp" in name for name in made)
    assert not any(
        b"sonoforge-runs." in made[f"{run}/{name}"] for name in ("config.yaml", "results.json", "splits.json")
    )


def test_no_url_is_asked_for_a_dry_run() -> None:
    done = understood("crossval", "--out", "s3://nobody/runs")
    assert done.code == 0 and json.loads(done.out)["out"] == "s3://nobody/runs"
