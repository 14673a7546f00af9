"""The smallest `sonoforge run`: it learns nothing, but does all that a real run does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from program import succeed, words

DATA = ["--data", "phantom", "--set", "phantom.images=60", "--folds", "3", "--device", "cpu"]
SIDE = 96  # pixels that the classifier sees
# The last blocks only, random weights, small images, a few steps.
CLASSIFIER = words(
    f"--set classifier.weights=none --set classifier.frozen_blocks=17 --set classifier.image_size={SIDE} "
    "--set classifier.epochs=2 --set classifier.ensemble_size=2"
)
GENERATOR = words("--gan-recipe dcgan --set gan.width=4 --set gan.image_size=32 --set gan.steps=6 --set gan.batch=4")
SMALL = [*DATA, *CLASSIFIER, *GENERATOR]
# The same from Python.
TINY: dict[str, object] = {
    **dict(word.split("=") for word in [*CLASSIFIER, *GENERATOR] if "=" in word),
    **{"gan.recipe": "dcgan", "device": "cpu", "jobs": 1},
}


class SmallRun(NamedTuple):
    """The run folder, the printed result, the log with the answer as text, and the folder of decoded images."""

    folder: Path
    result: dict[str, Any]
    log: str
    cache: Path


def make_small_run(out: Path) -> None:
    """Run the whole job in this process, one fold after the other."""
    done = succeed("run", *SMALL, "--jobs", "1", "--out", out / "runs", "--set", f"cache.folder={out / 'cache'}")
    (out / "result.json").write_text(done.out, encoding="utf-8")
    (out / "log.txt").write_text(done.said + done.err, encoding="utf-8")


def read_small_run(out: Path) -> SmallRun:
    """Return what `make_small_run` made."""
    result = json.loads((out / "result.json").read_text(encoding="utf-8"))
    return SmallRun(Path(result["run"]), result, (out / "log.txt").read_text(encoding="utf-8"), out / "cache")
