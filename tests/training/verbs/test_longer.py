"""A finished training goes on for longer: ``--resume`` with more kimg, steps or minutes."""

from __future__ import annotations

import functools
import itertools
import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gan_trainings import assert_same_tensors, read_rows
from processes import CLEAN
from program import refused, sonoforge, succeed
from scans import write_set
from sonoforge.training import run_folder
from sonoforge.training.gan import checkpoint as gan_checkpoint

GAN = (
    "gan train --data scans --class malignant --recipe dcgan --set gan.width=4 --size 32 --set gan.batch=4 --set "
    "gan.tick_steps=2 --resume"
)
GAN += " --set gan.metrics=none --device cpu"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with images."""
    write_set(tmp_path / "scans", {"benign": 12, "malignant": 12})
    monkeypatch.chdir(tmp_path)
    return tmp_path


def train(command: str, out: str, *more: object) -> Path:
    return Path(succeed(*command.split(), "--out", out, *more).json["run"])


def last(run: Path) -> Path:
    return gan_checkpoint.find_checkpoint(run)


def test_20_kimg_and_then_40_are_the_very_weights_of_40(place: Path) -> None:
    short = train(GAN, "runs", "--kimg", "0.02")
    assert train(GAN, "runs", "--kimg", "0.04") == short
    whole = train(GAN, "whole", "--kimg", "0.04")
    assert_same_tensors(last(short), last(whole))
    results = [run_folder.read_results(run) for run in (short, whole)]
    assert results[0]["plan"] == results[1]["plan"]
    assert run_folder.read_config(short)["gan.kimg"] == 0.04
    assert [(row["step"], row["share"]) for row in read_rows(short)] == [
        *((step, step / 10) for step in (2, 4)), (5, 0.5), *((step, step / 10) for step in (6, 8, 10)),
    ]  # fmt: skip
    # It is finished again, and never made shorter.
    done = sonoforge(*GAN.split(), "--out", "runs", "--kimg", "0.04")
    assert f"already finished: {short}" in done.err
    assert train(GAN, "runs", "--kimg", "0.02") != short


def test_lengths_of_other_units_are_compared_in_steps(place: Path) -> None:
    short = train(GAN, "runs", "--kimg", "0.02")  # 5 steps
    assert train(GAN, "runs", "--steps", "4") != short
    assert train(GAN, "runs", "--steps", "6") != short, "the newest that is shorter: that of 4 steps"
    shutil.rmtree("runs")
    short = train(GAN, "runs", "--kimg", "0.02")
    assert train(GAN, "runs", "--steps", "6") == short


def test_minutes_are_the_steps_of_the_pace_that_was_measured(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = (
        "gan train --data scans --class malignant --recipe dcgan --size 32 --set gan.batch=4 --device cpu "
        "--set gan.metrics=none"
    )
    monkeypatch.setattr("sonoforge.training.gan.minutes.Pace.fit", lambda *_: {"steps": 4, "tick_steps": 2})
    monkeypatch.setattr("sonoforge.training.gan.minutes.Offer.least", 1)
    short = train(command, "runs", "--minutes", "1")
    assert train(f"{command} --resume", "runs", "--minutes", "2") == short
    assert run_folder.read_results(short)["plan"]["steps"] == 8
    assert run_folder.read_config(short)["minutes"] == 2
    assert train(f"{command} --resume", "runs", "--minutes", "1.5") != short


def test_a_schedule_that_depends_on_the_length_goes_on_where_its_new_curve_is(place: Path) -> None:
    short = train(GAN, "runs", "--steps", "4", "--set", "gan.schedule=linear-decay")
    done = sonoforge(*GAN.split(), "--out", "runs", "--steps", "6", "--set", "gan.schedule=linear-decay")
    assert "0.667" in done.err
    assert "uninterrupted" in done.err
    assert last(short).name == "step-00000006"


def test_growing_is_refused_and_the_finished_run_stays(place: Path) -> None:
    command = GAN.replace("dcgan", "stylegan1")
    short = train(command, "runs", "--steps", "2")
    before = (short / "results.json").read_bytes(), (short / "config.yaml").read_bytes()
    line = refused(*command.split(), "--out", "runs", "--steps", "4")
    assert "cannot be made longer; leave out --resume to start again" in line
    assert ((short / "results.json").read_bytes(), (short / "config.yaml").read_bytes()) == before


def _killed(place: Path, environment: dict[str, str], arguments: tuple[object, ...], at: int) -> None:
    """Run a command that is killed at this change of the file system."""
    os.chdir(place)
    os.environ.update(environment)
    numbers = itertools.count(1)

    def counted(real: Callable[..., Any], *rest: Any, **options: Any) -> Any:
        if next(numbers) == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*rest, **options)

    for name in ("rename", "replace", "unlink", "rmdir", "mkdir"):
        setattr(os, name, functools.partial(counted, getattr(os, name)))
    raise SystemExit(sonoforge(*arguments).code)


def kill(command: str, *more: object, at: int) -> bool:
    """Run a command in a process of its own until this change of the file system; whether it came to it."""
    process = CLEAN.Process(target=_killed, args=(Path.cwd(), dict(os.environ), (*command.split(), *more), at))
    process.start()
    process.join(600)
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX")
@pytest.mark.slow
def test_killed_at_any_moment_it_goes_on_to_the_same_weights(place: Path) -> None:
    train(GAN, "first", "--steps", "2")
    whole = last(train(GAN, "whole", "--steps", "4"))
    states, at = set(), 0
    while True:
        at += 1 if at < 12 else 5  # each of those that make it an unfinished run of the new length
        shutil.copytree("first", f"runs{at}")
        (run,) = Path(f"runs{at}").iterdir()
        if not kill(GAN, "--out", f"runs{at}", "--steps", "4", at=at):
            break
        finished, steps = run_folder.is_finished(run), run_folder.read_config(run)["gan.steps"]
        states.add((finished, steps))
        if finished and steps == 2:
            assert train(GAN, f"runs{at}", "--steps", "2") == run, "the old result is kept"
        assert train(GAN, f"runs{at}", "--steps", "4") == run
        assert_same_tensors(last(run), whole)
    assert states >= {(True, 2), (False, 2), (False, 4)}


def test_a_killed_start_of_it_can_also_end_as_it_was(place: Path) -> None:
    short = train(GAN, "runs", "--steps", "2")
    before = json.loads((short / "results.json").read_text())
    (short / "results.json").unlink()
    assert train(GAN, "runs", "--steps", "2") == short
    assert json.loads((short / "results.json").read_text()) == before
