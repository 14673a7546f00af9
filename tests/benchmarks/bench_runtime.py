"""Start-up and warm latency of ``classify``, each as a ratio to the bare libraries that it cannot do without.

    python tests/benchmarks/bench_runtime.py BUNDLE IMAGE [--rounds 10]

Start-up: the whole process ``sonoforge classify IMAGE --json`` against ``python -c "import numpy, onnxruntime,
PIL.Image"``; limit 1.8.  Warm: ``Classifier.classify(path)`` against ``session.run`` on a ready input plus
``Image.open(path).load()``, with the same threads; limit 1.5.  The two sides take turns, so that a busy machine slows
both; medians of all rounds.  The ratio of CPU times (user and system) is steadier than that of wall times.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
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


def cpu_seconds() -> float:
    """Return the user and system time of this process and of the processes that it waited for."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def in_turns(rounds: int, bare: Callable[[], object], classify: Callable[[], object]) -> dict[str, float]:
    """Compare two tasks over rounds in which each runs once: their median wall times, and both ratios."""
    wall, cpu = np.zeros((rounds, 2)), np.zeros((rounds, 2))
    for row in range(rounds):
        for column, task in enumerate((bare, classify)):
            started, cpu_started = time.perf_counter(), cpu_seconds()
            task()
            wall[row, column], cpu[row, column] = time.perf_counter() - started, cpu_seconds() - cpu_started
    (bare_s, classify_s), (bare_cpu, classify_cpu) = np.median(wall, axis=0), np.median(cpu, axis=0)
    return {
        "bare_ms": 1e3 * bare_s,
        "classify_ms": 1e3 * classify_s,
        "ratio": classify_s / bare_s,
        "cpu_ratio": classify_cpu / bare_cpu,
    }


def start_up(bundle: str, image: str, rounds: int) -> dict[str, float]:
    """Compare whole processes, with byte code cached for both as an install leaves it."""
    program = [sys.executable, "-m", "sonoforge.runtime.cli.main"]
    answer = [*program, "classify", image, "--bundle", bundle, "--json", "--quiet"]
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": cache}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)

        def bare() -> None:
            subprocess.run([sys.executable, "-c", IMPORTS], check=True, env=environment)

        def classify() -> None:
            subprocess.run(answer, check=True, env=environment, stdout=subprocess.DEVNULL)

        bare()
        classify()
        return {**in_turns(rounds, bare, classify), "limit": 1.8}


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
        classifier.classify(image)

    in_turns(10, bare, classify)
    return {**in_turns(20 * rounds, bare, classify), "limit": 1.5}


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
