"""Start-up and warm latency of ``classify``, each as a ratio to the bare libraries that it cannot do without.

    python tests/benchmarks/bench_runtime.py BUNDLE IMAGE [--rounds 10]

Start-up: the whole process ``sonoforge classify IMAGE --json`` against ``python -c "import numpy, onnxruntime,
PIL.Image"``; limit 1.8.  Warm: ``Classifier.classify(path)`` against ``session.run`` on a ready input plus
``Image.open(path).load()``, with the same threads; limit 1.5.  The two sides take turns, so that a busy machine slows
both; medians of all rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
import onnxruntime
from PIL import Image

from sonoforge.runtime import Classifier

IMPORTS = "import numpy, onnxruntime, PIL.Image"


def in_turns(rounds: int, *tasks: Callable[[], object]) -> list[list[float]]:
    """Return the wall times in seconds of each task, over rounds in which each runs once."""
    times: list[list[float]] = [[] for _ in tasks]
    for _ in range(rounds):
        for task, record in zip(tasks, times, strict=True):
            started = time.perf_counter()
            task()
            record.append(time.perf_counter() - started)
    return times


def start_up(bundle: str, image: str, rounds: int) -> dict[str, float]:
    """Compare whole processes, with byte code cached for both as an install leaves it."""
    program = str(Path(sys.executable).with_name("sonoforge"))
    answer = [program, "classify", image, "--bundle", bundle, "--json", "--quiet"]
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": cache}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)

        def bare() -> None:
            subprocess.run([sys.executable, "-c", IMPORTS], check=True, env=environment)

        def classify() -> None:
            subprocess.run(answer, check=True, env=environment, stdout=subprocess.DEVNULL)

        bare()
        classify()
        times = [statistics.median(record) for record in in_turns(rounds, bare, classify)]
    return {"imports_ms": 1e3 * times[0], "classify_ms": 1e3 * times[1], "ratio": times[1] / times[0], "limit": 1.8}


def warm(bundle: str, image: str, rounds: int) -> dict[str, float]:
    """Compare one answer with one inference and one decode."""
    classifier = Classifier(bundle)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(Path(bundle) / "model.onnx"), options)
    side = classifier.bundle.manifest.preprocessing.size
    ready = np.zeros((1, 3, side, side), np.float32)

    def bare() -> None:
        Image.open(image).load()
        session.run(None, {"input": ready})

    def classify() -> None:
        assert classifier.classify(image)["ok"]

    in_turns(10, bare, classify)
    times = [statistics.median(record) for record in in_turns(20 * rounds, bare, classify)]
    return {"bare_ms": 1e3 * times[0], "classify_ms": 1e3 * times[1], "ratio": times[1] / times[0], "limit": 1.5}


def main() -> None:
    """Print both comparisons as one JSON object."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundle")
    parser.add_argument("image")
    parser.add_argument("--rounds", type=int, default=10)
    given = parser.parse_args()
    result = {
        "start_up": start_up(given.bundle, given.image, given.rounds),
        "warm": warm(given.bundle, given.image, given.rounds),
        "onnxruntime": onnxruntime.__version__,
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
