"""Measure one model file in a separate process: ``python -m sonoforge.runtime.inference.timing TASKFILE``.

Each finding is written at once as one line of JSON, so that a crash loses none.  See `inference.benchmark`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from sonoforge.runtime import machine
from sonoforge.runtime.errors import SonoforgeError, reason
from sonoforge.runtime.inference import runners

_MOST_RUNS = 100_000


def main(task: dict[str, Any]) -> None:
    """Carry out a task: ``format`` and ``path`` of a file, ``threads``, ``batches``, ``seconds`` of timing, ``golden``.

    The latter is the .npy file of the images with known answers; ``records`` is the file for the findings. Without a
    format nothing is opened, to measure the process's own memory. Each record has ``memory_bytes``; the first also has
    ``load_ms`` and ``first_ms``, the second the golden images' ``logits``, and the others ``batch`` with each call's
    ``ms`` or an ``error``.
    """
    with Path(task["records"]).open("a", encoding="utf-8") as file:

        def record(**values: Any) -> None:
            file.write(json.dumps({**values, "memory_bytes": machine.peak_memory()}) + "\n")
            file.flush()

        golden = np.load(task["golden"])
        if not task["format"]:
            record()
            return
        started = perf_counter()
        answer = runners.open_file(task["format"], Path(task["path"]), task["threads"])
        loaded = perf_counter()
        answers = [answer([golden[:1]])]
        record(load_ms=1e3 * (loaded - started), first_ms=1e3 * (perf_counter() - loaded))
        answers += [answer([golden[index : index + 1]]) for index in range(1, len(golden))]
        record(logits=np.concatenate([outputs[0] for outputs in answers]).astype(np.float64).tolist())
        for batch in task["batches"]:
            rows = np.ascontiguousarray(golden[np.arange(batch) % len(golden)])
            seconds = task["seconds"] / (2 if batch == 1 else 2 * max(1, len(task["batches"]) - 1))
            try:
                record(batch=batch, ms=time_runs(lambda rows=rows: answer([rows]), seconds))  # type: ignore[misc]
            except Exception as error:  # many formats have a fixed batch size, and each runner fails in its own way
                record(batch=batch, error=reason(error))


def time_runs(run: Callable[[], object], seconds: float) -> list[float]:
    """Return the milliseconds of at least three calls over some seconds, after warming up for a tenth of them."""
    begin = perf_counter()
    run()
    while perf_counter() - begin < seconds / 10:
        run()
    times: list[float] = []
    begin = perf_counter()
    while len(times) < 3 or (perf_counter() - begin < seconds and len(times) < _MOST_RUNS):
        started = perf_counter()
        run()
        times.append(round(1e3 * (perf_counter() - started), 4))
    return times


if __name__ == "__main__":
    runners.leave_with_parent()
    try:
        main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    except SonoforgeError as error:
        sys.exit(str(error))
