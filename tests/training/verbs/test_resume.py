"""``--resume`` keeps what the same images, folds, settings and weights would make again, and refuses all else."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from program import refused, sonoforge, succeed, words
from scans import draw_scan, save, write_set
from sonoforge.export import whole_run
from sonoforge.models.mobilenetv2 import mobilenet_v2
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training import run_folder
from sonoforge.training.classifier.fine_tuning import EpochRow, _Training

CLASSIFIER = words("--set classifier.weights=first.safetensors --set classifier.frozen_blocks=17")
CLASSIFIER += words("--set classifier.epochs=1 --set classifier.ensemble_size=1 --set classifier.image_size=64")
COMPARISON = words("--data scans --arms real --folds 2 --device cpu --jobs 1 --out runs") + CLASSIFIER
TRAINING = words("--data scans --class malignant --recipe dcgan --set gan.width=4 --size 32 --steps 2 --device cpu")
COMMANDS = {
    "crossval": ["crossval", *COMPARISON],
    "run": ["run", *COMPARISON],
    "gan train": [
        "gan",
        "train",
        *TRAINING,
        *words("--set gan.batch=4 --set gan.metrics=none --out runs"),
    ],
}
# A process that works in a folder until its input ends.
HOLD = """
import fcntl, os, sys
fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""
FIRST, SECOND = "benign/scan (1).png", "malignant/scan (1).png"


def write_weights(path: Path, seed: int) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        save_file(mobilenet_v2(3).state_dict(), path)


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with images, weights and runs of all commands, to be copied."""
    base = tmp_path_factory.mktemp("begun")
    write_set(base / "scans", {"benign": 6, "malignant": 6})
    write_weights(base / "first.safetensors", 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(base)
        patch.setenv("SONOFORGE_CACHE", str(base / "cache"))
        # The bundle and the report of `run` take longest, and no part of them is ever kept.
        patch.setattr(whole_run, "bundle_from_run", stop)
        for verb, command in COMMANDS.items():
            assert sonoforge(*command).code == (2 if verb == "run" else 0)
        (run_of(base, "run") / "results.json").write_text("{}")
    return base


def stop(*_: object) -> None:
    raise SonoforgeError("stopped before the export")


@pytest.fixture
def place(begun: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it to work in, under the same relative names, so that runs are found again."""
    shutil.copytree(begun, tmp_path / "place", ignore=shutil.ignore_patterns("cache"))
    monkeypatch.chdir(tmp_path / "place")
    monkeypatch.setenv("SONOFORGE_CACHE", str(begun / "cache"))
    return tmp_path / "place"


def run_of(place: Path, verb: str) -> Path:
    (folder,) = place.glob(f"runs/*-{verb.replace(' train', '')}-*")
    return folder


def interrupt(folder: Path) -> None:
    """Leave what a run leaves that is killed after its first fold."""
    for name in ("results.json", "predictions.csv"):
        (folder / name).unlink(missing_ok=True)
    for path in folder.glob("folds/*-fold01.json"):
        path.unlink()


def edit(path: Path, change: Callable[[Any], object]) -> None:
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def swap(place: Path) -> None:
    first, second = place / "scans" / FIRST, place / "scans" / SECOND
    first.rename(place / "between")
    second.rename(first)
    (place / "between").rename(second)


def change_pixel(place: Path) -> None:
    path = place / "scans" / SECOND
    pixels = np.array(Image.open(path))
    pixels[0, 0] ^= 1
    save(path, pixels)


def add(place: Path) -> None:
    save(place / "scans" / "malignant" / "scan (7).png", draw_scan(99))


def remove(place: Path) -> None:
    (place / "scans" / SECOND).unlink()


def rename(place: Path) -> None:
    (place / "scans" / SECOND).rename(place / "scans" / "malignant" / "scan (0).png")


def rename_all(place: Path) -> None:
    for path in (place / "scans" / "malignant").iterdir():
        path.rename(path.with_name(f"new {path.name}"))


CHANGED_IMAGES = [
    (swap, f"2 of another class ({SECOND} is now {FIRST}, {FIRST} is now {SECOND})"),
    (change_pixel, f"1 with other pixels ({SECOND})"),
    (add, "1 new (malignant/scan (7).png)"),
    (remove, f"1 gone ({SECOND})"),
    (rename, f"1 renamed ({SECOND} is now malignant/scan (0).png)"),
    (rename_all, "6 renamed (malignant/scan (1).png is now malignant/new"),
]


@pytest.mark.parametrize(
    ("verb", "finished"), [("crossval", False), ("run", True), ("gan train", False), ("gan train", True)]
)
@pytest.mark.parametrize(("change", "message"), CHANGED_IMAGES)
def test_changed_images_are_refused_and_named(
    place: Path, verb: str, change: Callable[[Path], None], message: str, finished: bool
) -> None:
    folder = run_of(place, verb)
    if not finished:
        interrupt(folder)
    kept = [path for path in folder.rglob("*.json") if path.name != "environment.json"]  # which lists the attempt
    before = [path.read_bytes() for path in kept]
    change(place)
    if verb == "gan train" and change is swap:  # it reads one class alone
        message = f"1 with other pixels ({SECOND})"
    line = refused(*COMMANDS[verb], "--resume")
    assert message in line and (verb == "gan train" or "restore the files" in line)
    assert [path.read_bytes() for path in kept] == before


def test_a_generator_whose_images_nobody_knows_is_not_continued(place: Path) -> None:
    (run_of(place, "gan train") / "images.json").unlink()
    assert "images.json: the images of this training are unknown" in refused(*COMMANDS["gan train"], "--resume")


def test_images_put_back_give_the_predictions_of_an_uninterrupted_run(place: Path) -> None:
    folder = run_of(place, "crossval")
    expected = (folder / "predictions.csv").read_bytes()
    interrupt(folder)
    swap(place)
    refused(*COMMANDS["crossval"], "--resume")
    swap(place)
    assert succeed(*COMMANDS["crossval"], "--resume").json["run"] == str(folder.relative_to(place))
    assert (folder / "predictions.csv").read_bytes() == expected


def test_a_fold_goes_on_after_the_epoch_that_was_done(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a training without cached maps, which may take an hour; the answers are those of one that nothing stopped."""
    long = COMMANDS["crossval"] + words("--budget full --set classifier.frozen_blocks=0 --set classifier.epochs=3")
    expected = Path(succeed(*long, "--out", "whole").json["run"]) / "predictions.csv"
    epoch = _Training.epoch

    def stopped(training: _Training, number: int) -> EpochRow:
        if number == 2:
            raise KeyboardInterrupt
        return epoch(training, number)

    with monkeypatch.context() as patch:
        patch.setattr(_Training, "epoch", stopped)
        assert sonoforge(*long, "--out", "cut").code == 130
    (kept,) = (place / "cut").glob("*/folds/*")
    assert kept.is_dir()
    run = place / succeed(*long, "--out", "cut", "--resume").json["run"]
    assert "continuing after epoch 2 of 3" in (run / "log.txt").read_text()
    assert (run / "predictions.csv").read_bytes() == (place / expected).read_bytes()
    assert sorted(path.suffix for path in (run / "folds").iterdir()) == [".json", ".json"]


def edited(pattern: str, change: Callable[[Any], object]) -> Callable[[Path], None]:
    """Edit the JSON files of a run of this name."""

    def make(folder: Path) -> None:
        for path in folder.glob(pattern):
            edit(path, change)

    return make


def edit_plan_before_any_fold(folder: Path) -> None:
    shutil.rmtree(folder / "folds")
    edit(folder / "splits.json", lambda plan: plan["fold_of"].__setitem__(0, 1 - plan["fold_of"][0]))


def group_images(folder: Path) -> None:
    files = json.loads((folder / "splits.json").read_text())["files"]
    rows = [f"{file},{'one patient' if number < 2 else ''}" for number, file in enumerate(files)]
    (folder.parents[1] / "scans" / "groups.csv").write_text("\n".join(["file,group", *rows]) + "\n")


def change_weights(folder: Path) -> None:
    write_weights(folder.parents[1] / "first.safetensors", 1)


PLAN, MADE_FROM = "splits.json", "final/made_from.json"
edit_plan = edited(PLAN, lambda plan: plan["fold_of"].reverse())
change_settings = edited("folds/*", lambda fold: fold["made_from"]["settings"]["classifier"].update(epochs=5))
forget = edited("folds/*", lambda fold: fold.pop("made_from"))


@pytest.mark.parametrize(
    ("change", "messages"),
    [
        (edit_plan, ["splits.json: is not the plan that real-seed0-fold00.json was made with"]),
        (edit_plan_before_any_fold, ["splits.json: benign/scan (1).png in fold", "was edited"]),
        (edited(PLAN, lambda plan: plan["files"].__setitem__(1, plan["files"][0])), ["lists benign/scan (1).png"]),
        (edited(PLAN, lambda plan: plan["fold_of"].pop()), ["12, 12, 12, 12, 11 entries"]),
        (edited(PLAN, lambda plan: plan["fold_of"].__setitem__(0, 2)), ["benign/scan (1).png is in fold 2"]),
        (lambda folder: (folder / PLAN).write_text('{"protocol": '), ["splits.json: not a split plan"]),
        (lambda folder: (folder / PLAN).unlink(), ["without splits.json"]),
        (group_images, ["splits.json: benign/scan", "groups.csv"]),
        (change_settings, ["real-seed0-fold00.json: was made with classifier.epochs 5, not 1"]),
        (change_weights, ["real-seed0-fold00.json: was made from initial weights sha256", "not sha256"]),
        (forget, ["real-seed0-fold00.json: not a readable fold result", "made_from"]),
    ],
)  # fmt: skip
def test_a_fold_made_from_anything_else_is_not_kept(
    place: Path, change: Callable[[Path], None], messages: list[str]
) -> None:
    folder = run_of(place, "crossval")
    interrupt(folder)
    change(folder)
    line = refused(*COMMANDS["crossval"], "--resume")
    for message in messages:
        assert message in line
    assert "leave out --resume" in line or "start a new run" in line


@pytest.mark.parametrize("change", [change_weights, change_settings, forget, edit_plan])
def test_a_finished_comparison_made_from_anything_else_is_not_returned(
    place: Path, change: Callable[[Path], None]
) -> None:
    change(run_of(place, "crossval"))
    assert "leave out --resume" in refused(*COMMANDS["crossval"], "--resume")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / MADE_FROM).unlink(), "unknown what the kept model was made from"),
        (
            edited(MADE_FROM, lambda made: made["settings"]["classifier"].update(ensemble_size=7)),
            "final: was made with classifier.ensemble_size 7, not 1",
        ),
        (change_weights, "was made from initial weights sha256"),
    ],
)
def test_a_final_model_made_from_anything_else_is_not_kept(
    place: Path, change: Callable[[Path], None], message: str
) -> None:
    folder = run_of(place, "run")
    (folder / "results.json").unlink()
    change(folder)
    assert message in refused(*COMMANDS["run"], "--resume")


def test_one_classifier_is_not_returned_for_other_images_or_weights(place: Path) -> None:
    command = words("train --data scans --set train.holdout=0.3 --device cpu --out runs") + CLASSIFIER
    succeed(*command)
    assert sonoforge(*command, "--resume").code == 0
    change_weights(run_of(place, "train"))
    assert "final: was made from initial weights" in refused(*command, "--resume")
    swap(place)
    assert "2 of another class" in refused(*command, "--resume")


def test_other_settings_begin_a_new_run_and_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = run_folder.open_run(tmp_path, "crossval-scans", {"seed": 1, "folds": 10, "jobs": 1}, resume=True)
    with caplog.at_level(logging.INFO, "sonoforge"):
        second = run_folder.open_run(tmp_path, "crossval-scans", {"seed": 1, "folds": 5, "jobs": 2}, resume=True)
    assert first != second
    assert "nothing to resume" in caplog.text and "00000-crossval-scans had folds 10, not 5)" in caplog.text


@pytest.mark.skipif(sys.platform == "win32", reason="Windows locks no folders")
@pytest.mark.parametrize("verb", COMMANDS)
def test_two_commands_do_not_work_in_one_run(place: Path, verb: str) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(run_of(place, verb))], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout and holder.stdout.readline() == b"held\n"
    assert "another process works in it" in refused(*COMMANDS[verb], "--resume")
    holder.communicate()
    if verb != "run":  # which is stopped before its export here
        succeed(*COMMANDS[verb], "--resume")
