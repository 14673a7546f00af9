"""Killed and resumed, every long command ends as if nothing had happened: nothing is lost, and nothing done twice."""

from __future__ import annotations

import csv
import json
import os
import signal
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pytest

from disc_volumes import SIDE, write_volumes
from processes import Written, shorten, start
from program import succeed, words
from small_run import SMALL, SmallRun
from sonoforge.training import run_folder

GAN = "--class malignant --image-size 32 --device cpu"
FEW = "--set gan.batch=4 --set gan.width=4"
MEASURED = "--set gan.metric_features=pixels --jobs 1 --recipes dcgan"
SEGMENT = f"--set unet.image_size={SIDE} --set unet.steps=3 --set unet.batch=8 --set unet.width=8 --recipes dcgan"
SEGMENT += " --set gan.kimg=0.032 --set gan.batch=8 --set gan.width=4 --set metrics.features=pixels"
CELLS = "--set gan.metric_features=pixels --set gan.conditioning=none --jobs 1 --stages generator --set gan.batch=4"
CELLS += " --set search.population=2 --set search.children=3 --set search.sample=2 --set gan.width=2"


class Killed(NamedTuple):
    """A command, the files at whose writing one process after the other is killed, and what is then there of parts."""

    command: str
    at: tuple[str, ...]
    parts: str = "none"
    kept: int = 0
    end: str = "--resume"


CASES = {
    "train": Killed(
        f"gan train --recipe dcgan {GAN} {FEW} --set gan.metrics=none --steps 12 --set gan.tick_steps=4",
        ("/checkpoints/step-00000008",),
    ),
    "compare": Killed(
        f"gan compare --recipes dcgan,lsgan {GAN} {FEW} --set gan.steps=6 --set gan.tick_steps=2 --milestones 0.5,1 "
        "--set metrics.features=pixels --set metrics.repeats=5",
        ("/lsgan/checkpoints/step-00000003",), "*/milestone-*.json", 2,
    ),
    "search": Killed(
        f"gan search {GAN} {MEASURED} --trials 4 --over width=2,4 --over batch=4,8 --kimg 0.02",
        ("/dcgan/trial-0002/checkpoints/step-*",), "dcgan/*/trial.json", 2,
    ),
    "cells": Killed(
        f"gan search --what cells {GAN} {CELLS} --kimg 0.02",
        ("/generator/trial-0001/checkpoints/step-*", "/generator/trial-0004/checkpoints/step-*"),
        "generator/*/trial.json", 4,
    ),
    "segment": Killed(
        f"segment {SEGMENT} --set metrics.repeats=5 --device cpu --arms real,generated --jobs 1",
        ("/folds/real-seed0-fold00.csv",), "*/folds/*.csv", 1,
    ),
    "crossval": Killed(
        " ".join(["crossval", *SMALL, "--jobs", "1"]),
        ("/folds/gan-seed0-fold01.json",), "folds/*.json", 2, "--resume --jobs 2"
    ),
}  # fmt: skip
# What takes most of such a short training's time.
QUICK = {
    "sonoforge.training.gan.recorder.write_curves": None,
    "sonoforge.training.reports.search.write_report": None,
}


def answers(run: Path) -> dict[str, object]:
    """What must not depend on how often a command was killed: answers, and the last weights of each training."""
    found: dict[str, object] = {}
    for name in ("predictions.csv", "cases.csv", "trials.csv"):
        if (run / name).exists():
            with (run / name).open(newline="") as file:
                found[name] = [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]
    for folder in [] if (run / "predictions.csv").exists() else run.rglob("checkpoints"):
        last = max(folder.glob("step-*"))
        found |= {str(path.relative_to(run)): path.read_bytes() for path in last.glob("*.safetensors")}
    return found


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX")
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name == "cells" else ()) for name in CASES]
)
def test_killed_and_resumed_it_ends_as_if_nothing_had_happened(
    name: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case, arguments = CASES[name], words(CASES[name].command)
    if name == "segment" and find_spec("monai") is None:
        pytest.skip("monai is not installed")
    small: SmallRun | None = request.getfixturevalue("small_run") if name == "crossval" else None
    shorten(monkeypatch, QUICK)
    if small:
        whole, data = small.folder, []
    else:
        images = request.getfixturevalue("more_pictures")
        data = ["--data", write_volumes(tmp_path / "volumes", splits=True) if name == "segment" else images]
        whole = Path(succeed(*arguments, *data, "--out", tmp_path / "whole").json["run"])
    command = [*arguments, *data, "--out", tmp_path / "killed"]
    for pattern in case.at:
        victim = start(tmp_path / "log", *command, "--resume", returning=QUICK, signalled=Written(pattern))
        victim.join()
        assert victim.exitcode == -signal.SIGKILL
    (run,) = (tmp_path / "killed").iterdir()
    assert not run_folder.is_finished(run)
    before = {path: path.stat().st_mtime_ns for path in run.glob(case.parts)}
    assert len(before) == case.kept
    done = succeed(*command, *words(case.end))
    assert f"resuming {run}" in done.err and done.json["run"] == str(run)
    assert [path.name for path in run.parent.iterdir()] == [run.name], "no second run folder"
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert answers(run) == answers(whole)
    for path in run.rglob("stats.jsonl"):
        steps = [json.loads(line)["step"] for line in path.read_text().splitlines()]
        assert steps == sorted(set(steps)), "no step is told twice"
