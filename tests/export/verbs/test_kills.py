"""Killed and terminated at any moment, every long command goes on to the results of an uninterrupted run.

About ten minutes on one core:  pytest -m slow -n 0 tests/export/verbs/test_kills.py
"""

from __future__ import annotations

import functools
import itertools
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from gan_trainings import write_pictures
from processes import FORK
from program import sonoforge, words
from small_run import SMALL
from sonoforge.export.verbs import export, run  # noqa: F401 - imported once, for all forked processes
from sonoforge.runtime.bundle.manifest import Manifest
from sonoforge.runtime.bundle.reader import open_bundle
from sonoforge.training.gan import checkpoint as gan_checkpoint
from sonoforge.training.verbs import gan_train  # noqa: F401 - likewise

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX")]

KILLS, TERMINATIONS = 10, 3
STEPS = 60  # of the generator
CHANGES = ("rename", "replace", "unlink", "rmdir", "mkdir")  # of the file system: ticks and removals are made of them
VARYING = ("MODEL_CARD.md", "time-taken.csv")  # hold times
DATA_FILES = {".safetensors", ".csv", ".onnx", ".npz"}  # whose bytes must be those of an uninterrupted run


class Command(NamedTuple):
    """A command without its output folder, which is appended; what tells that a part of it is whole."""

    arguments: tuple[object, ...]
    whole: Callable[[Path], object]


def _readable_checkpoints(out: Path) -> None:
    for folder in out.rglob("checkpoints"):
        found = gan_checkpoint.list_checkpoints(folder)
        if found:
            gan_checkpoint.best_checkpoint(folder)
            for stem in ("average", "generator_optimiser"):
                gan_checkpoint.load_state(gan_checkpoint.find_checkpoint(folder.parent), stem)


def _readable_bundle(out: Path) -> None:
    if out.exists():
        bundle = open_bundle(out, Manifest)
        for name in bundle.manifest.files:
            bundle.read(name)


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Command]:
    folder = tmp_path_factory.mktemp("data")
    gan = ["gan", "train", "--recipe", "dcgan", "--set", "gan.width=8", "--class", "malignant", "--image-size", "32"]
    gan += [*words("--set gan.batch=8 --device cpu --set gan.metrics=none --data"), write_pictures(folder, 24)]
    assert _end(Command((*gan, "--steps", "4", "--out"), _readable_checkpoints), folder / "generator") == 0
    small = [
        *SMALL,
        *words("--set phantom.images=30 --folds 2 --set classifier.epochs=1 --set classifier.ensemble_size=1 --jobs 1"),
    ]
    small += ["--set", f"cache.folder={folder / 'cache'}", "--resume", "--out"]
    return {
        "gan train": Command(
            (*gan, "--steps", STEPS, "--set", "gan.tick_steps=3", "--resume", "--out"), _readable_checkpoints
        ),
        "crossval": Command(("crossval", *small), _readable_checkpoints),
        "run": Command(("run", *small), _readable_checkpoints),
        "export": Command(("export", *(folder / "generator").iterdir(), "--out"), _readable_bundle),
    }


def _work(arguments: tuple[object, ...], last_change: int | None) -> None:
    """Run the command in a process of its own; it is killed at this change of the file system, if any."""
    if last_change is not None:
        numbers = itertools.count(1)

        def counted(real: Callable[..., Any], *rest: Any, **options: Any) -> Any:
            if next(numbers) == last_change:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*rest, **options)

        for name in CHANGES:
            setattr(os, name, functools.partial(counted, getattr(os, name)))
    raise SystemExit(sonoforge(*arguments).code)


def _end(command: Command, out: Path, *, seconds: float = 300, change: int | None = None, number: int = 0) -> int:
    """Start the command, signal it after so long, and return its exit code."""
    process = FORK.Process(target=_work, args=((*command.arguments, out), change))
    process.start()
    process.join(seconds)
    if process.is_alive() and number:
        os.kill(process.pid or 0, number)
    process.join(300)
    assert not process.is_alive(), "it did not end within five minutes"
    return process.exitcode or 0


def _contents(out: Path) -> dict[str, bytes | None]:
    """Names of all files; content of those that must not differ."""
    return {
        path.relative_to(out).as_posix(): path.read_bytes() if path.suffix in DATA_FILES else None
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.parent.name != "tensorboard" and path.name not in VARYING
    }


@pytest.mark.parametrize("name", ["gan train", "crossval", "run", "export"])
def test_ten_kills_and_three_terminations(name: str, commands: dict[str, Command], tmp_path: Path) -> None:
    command, chance = commands[name], random.Random(name)
    began = time.monotonic()
    assert _end(command, tmp_path / "whole") == 0
    duration = time.monotonic() - began
    expected = _contents(tmp_path / "whole")
    kills = terminations = runs = 0
    while kills < KILLS or terminations < TERMINATIONS:
        out, ended = tmp_path / str(runs), None
        terminate = kills >= KILLS
        while ended != 0 and (kills < KILLS or terminate) and terminations < TERMINATIONS:
            if terminate:
                ended = _end(command, out, seconds=chance.uniform(0.05, 0.6) * duration, number=signal.SIGTERM)
                saved = name == "gan train" and ended == 0 and not list(out.glob("*/results.json"))
                terminations += saved or ended == 130
            elif chance.random() < 0.6:  # aimed at a change of the file system
                ended = _end(command, out, change=chance.randint(1, 60))
            else:
                ended = _end(command, out, seconds=chance.uniform(0, 0.6) * duration, number=signal.SIGKILL)
            assert ended in (0, 130, -signal.SIGKILL)
            kills += ended == -signal.SIGKILL
            command.whole(out)
        assert _end(command, out) == 0
        found = _contents(out)
        if terminate and name == "gan train":  # which closed a tick of its own, with its samples and checkpoint
            last = {key: value for key, value in expected.items() if f"{STEPS:08d}" in key}
            assert {key: found[key] for key in last} == last
            assert not [key for key in found if "sonoforge-" in key]
        else:
            assert found.keys() == expected.keys()
            assert [key for key in found if found[key] != expected[key]] == []
        runs += 1
    print(f"{name}: {kills} kills and {terminations} terminations in {runs} runs, all with the same results")
    assert not multiprocessing.active_children()
