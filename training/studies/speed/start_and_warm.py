"""One answer of ``classify``, cold and warm, as a ratio to the bare libraries that it cannot do without.

    python training/studies/speed/start_and_warm.py BUNDLE IMAGE [IMAGE ...] [--rounds 10]

Each entry of the result says what is divided by what:

* start-up, limit 1.8: the whole process ``sonoforge classify IMAGE --json`` over ``python -c "import numpy,
  onnxruntime, PIL.Image"``; and, for information, over the same with a session made of the model;
* warm, limit 1.2: ``Classifier.classify(path)`` over decode (``Image.open``, ``load``), resize (to the network's size,
  bilinear, in the file's own colours) and ``session.run`` on a ready input, with one thread each;
* predict, limit 1.3: ``Classifier.predict(pixels)`` over ``session.run`` on the same tensor.

The sides take turns, forwards and backwards, so that a busy machine slows all; medians of all rounds.  The ratio of CPU
times (user and system) is steadier than that of wall times.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
import onnxruntime
from PIL import Image

from sonoforge.runtime import Classifier
from sonoforge.runtime.images.decoding import read_image

IMPORTS = "import os; os.environ['ORT_DISABLE_TELEMETRY'] = '1'; import numpy, onnxruntime, PIL.Image"
SESSION = f"{IMPORTS}; import sys; onnxruntime.InferenceSession(sys.argv[1])"


class Times(NamedTuple):
    """Median seconds of one task: by the clock, and of the processor (its own and its processes')."""

    wall: float
    cpu: float


def in_turns(rounds: int, *tasks: Callable[[], object]) -> list[Times]:
    """Run each task once a round, every other round backwards, and return the times of each.

    Who reads a file second finds it in the processor's cache.
    """
    wall, cpu = np.zeros((rounds, len(tasks))), np.zeros((rounds, len(tasks)))
    for row in range(rounds):
        for column, task in list(enumerate(tasks))[:: -1 if row % 2 else 1]:
            started, cpu_started = time.perf_counter(), _cpu_seconds()
            task()
            wall[row, column], cpu[row, column] = time.perf_counter() - started, _cpu_seconds() - cpu_started
    return [Times(*pair) for pair in zip(np.median(wall, 0).tolist(), np.median(cpu, 0).tolist(), strict=True)]


def ratio(what: str, over: str, times: Times, bare: Times) -> dict[str, Any]:
    """Say what was divided by what, and the ratios."""
    return {
        "ratio_of": f"{what}  /  {over}",
        "ms": [round(1e3 * times.wall, 2), round(1e3 * bare.wall, 2)],
        "cpu_ms": [round(1e3 * times.cpu, 2), round(1e3 * bare.cpu, 2)],
        "ratio": round(times.wall / bare.wall, 3),
        "cpu_ratio": round(times.cpu / bare.cpu, 3),
    }


def _cpu_seconds() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def start_up(bundle: str, image: str, rounds: int) -> dict[str, Any]:
    """Compare whole processes, with byte code cached for all as an install leaves it."""
    answer = ["-m", "sonoforge.runtime.cli.main", "classify", image, "--bundle", bundle, "--json", "--quiet"]
    commands = (answer, ["-c", IMPORTS], ["-c", SESSION, str(Path(bundle) / "model.onnx")])
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": cache}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)

        def task(command: list[str]) -> Callable[[], object]:
            whole = [sys.executable, *command]
            return lambda: subprocess.run(whole, check=True, env=environment, stdout=subprocess.DEVNULL)

        tasks = [task(command) for command in commands]
        in_turns(1, *tasks)
        whole, imports, session = in_turns(rounds, *tasks)
    name = "the process sonoforge classify IMAGE --json"
    return {
        "start_up": {**ratio(name, "the process of imports", whole, imports), "limit": 1.8},
        "start_up_over_session": ratio(name, "the process of imports and InferenceSession(model)", whole, session),
    }


def warm(bundle: str, images: list[str], rounds: int) -> dict[str, Any]:
    """Compare one answer with one decode, one resize and one inference; the images take turns."""
    classifier = Classifier(bundle)
    prepare = classifier.bundle.manifest.preprocessing
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(Path(bundle) / "model.onnx"), options)
    pixels = prepare.resize(read_image(images[0]))[None]
    ready, small = prepare.normalise(pixels), (prepare.size, prepare.size)
    files = [itertools.cycle(images) for _ in range(2)]

    def decode_resize_run() -> None:
        picture = Image.open(next(files[0]))
        picture.load()
        picture.resize(small, Image.Resampling.BILINEAR)
        session.run(None, {"input": ready})

    tasks: tuple[Callable[[], object], ...] = (
        lambda: classifier.classify(next(files[1])),
        decode_resize_run,
        lambda: classifier.predict(pixels),
        lambda: session.run(None, {"input": ready}),
    )
    in_turns(10, *tasks)
    answer, bare, predict, run = in_turns(30 * rounds, *tasks)
    name = "Classifier.classify(path)"
    return {
        "warm": {**ratio(name, "Image.open, load, resize, session.run", answer, bare), "limit": 1.2},
        "warm_over_session": ratio(name, "session.run", answer, run),
        "predict": {**ratio("Classifier.predict(pixels)", "session.run", predict, run), "limit": 1.3},
    }


def main() -> None:
    """Print all comparisons as one JSON object."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundle")
    parser.add_argument("images", nargs="+")
    parser.add_argument("--rounds", type=int, default=10)
    given = parser.parse_args()
    for path in (Path(given.bundle) / "model.onnx", *map(Path, given.images)):
        if not path.is_file():
            parser.error(f"{path}: no such file, expected the folder of a bundle and then images")
    result = {
        **start_up(given.bundle, given.images[0], given.rounds),
        **warm(given.bundle, given.images, given.rounds),
        "onnxruntime": onnxruntime.__version__,
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
