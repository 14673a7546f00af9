"""Measure one model file in a separate process: ``python -m sonoforge.runtime.bench.process TASKFILE``.

The task file holds a `measure.Task` as JSON.  Each finding, a `measure.Record`, is written at once as one JSON line, so
that a crash loses none.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np

from sonoforge.runtime import machine
from sonoforge.runtime.bench.measure import Record, Task
from sonoforge.runtime.errors import SonoforgeError, reason
from sonoforge.runtime.inference import runners

# Package that runs a format's files, by the first part of its name.
_PACKAGES = {
    "torchscript": "torch",
    "executorch": "executorch",
    "litert": "ai-edge-litert",
    "openvino": "openvino",
    "tensorrt": "tensorrt_rtx",
}
_MOST_RUNS = 100_000


def main(task: Task) -> None:
    """Carry out a task, writing each finding at once."""
    with Path(task["records"]).open("a", encoding="utf-8") as file:

        def record(**values: Any) -> None:
            file.write(json.dumps({**values, "memory_bytes": machine.peak_memory()}) + "\n")
            file.flush()

        golden, inputs = np.load(task["golden"]), np.load(task["inputs"])
        if not task["format"]:
            record()
            return
        started = perf_counter()
        answer = runners.open_file(task["format"], Path(task["path"]), task["threads"])
        loaded = perf_counter()
        answers = [answer([golden[:1]])]
        record(
            load_ms=1e3 * (loaded - started), first_ms=1e3 * (perf_counter() - loaded), program=program(task["format"])
        )
        answers += [answer([golden[index : index + 1]]) for index in range(1, len(golden))]
        record(logits=np.concatenate([outputs[0] for outputs in answers]).astype(np.float64).tolist())
        for batch in task["batches"]:
            rows = np.ascontiguousarray(inputs[np.arange(batch) % len(inputs)])
            seconds = task["seconds"] / (2 if batch == 1 else 2 * max(1, len(task["batches"]) - 1))
            try:
                record(batch=batch, **time_runs(lambda rows=rows: answer([rows]), seconds))  # type: ignore[misc]
            except Exception as error:  # many formats have a fixed batch size, and each runner fails in its own way
                record(batch=batch, error=reason(error))


def time_runs(run: Callable[[], object], seconds: float) -> Record:
    """Time at least three calls, for so many seconds, after warming up for a tenth of that time."""
    begin = perf_counter()
    run()
    while perf_counter() - begin < seconds / 10:
        run()
    times: list[float] = []
    energy, busy, begin = machine.energy_joules(), process_time(), perf_counter()
    while len(times) < 3 or (perf_counter() - begin < seconds and len(times) < _MOST_RUNS):
        started = perf_counter()
        run()
        times.append(perf_counter() - started)
    busy, wall, after = process_time() - busy, perf_counter() - begin, machine.energy_joules()
    joules = (after - energy) / len(times) if energy is not None and after is not None and after > energy else None
    return {"ms": [round(1e3 * value, 4) for value in times], "cores": busy / wall, "joules": joules}


def program(name: str) -> str:
    """Return the package that runs a format and its version."""
    package = _PACKAGES.get(name.split("-", maxsplit=1)[0])
    if package is None:
        onnxruntime: Any = importlib.import_module("onnxruntime")
        return f"onnxruntime {onnxruntime.__version__}, CPUExecutionProvider"
    return f"{package} {metadata.version(package)}"


if __name__ == "__main__":
    runners.leave_with_parent()
    try:
        main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    except SonoforgeError as error:
        sys.exit(str(error))
