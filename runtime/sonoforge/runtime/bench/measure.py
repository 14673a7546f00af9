"""Measure model files in turns, each in its own processes, and summarise the rounds; see `verbs.bench`."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.inference.runners import how_it_ended, run_module

TOLERANCE = 1e-3
"""Largest difference from the golden logits of a float32 file, as in ``sonoforge verify``."""

_LONGEST = 600  # seconds that one process may take, so that a hanging one does not block the others


class Task(TypedDict):
    """A task for a measuring process."""

    format: str  # empty: open no file, to measure the memory that the process itself needs
    path: str
    threads: int
    batches: list[int]
    seconds: float  # of timing, over all batch sizes
    golden: str  # .npy file of the images with known answers
    inputs: str  # .npy file of the images to time
    records: str  # JSON lines file for the findings


Record = dict[str, Any]
"""One finding of a measuring process, with its ``memory_bytes`` or None.  The start: ``load_ms``, ``first_ms``,
``program``.  The golden answers: ``logits``.  A batch size: ``batch`` with ``ms`` of each call, mean busy ``cores`` and
``joules`` a call or None, or with its ``error``."""

Figures = dict[str, Any]
"""Figures of one file over all rounds.

``program``: package that ran it, with its version; ``load_ms``: from the program's import until the file can answer,
and ``first_ms``: the first answer, both the smallest of the rounds; ``latency_ms``: ``p50``, ``p95``, ``p99`` at batch
1, or None; ``throughput``: highest ``images_per_s`` and its ``batch``; ``memory_bytes`` at batch 1 and
``peak_memory_bytes`` at the largest batch, beyond a process without a model; ``max_abs_logits``: largest difference
from the golden logits; ``labels_equal``: golden images with the golden label; ``batches``: by size ``p50_ms`` (smallest
of the rounds' medians), ``p95_ms``, ``p99_ms``, ``calls``, ``images_per_s``, ``cores`` and ``joules`` an image or None,
or its ``error``.
"""

Row = dict[str, Any]
"""One model file: ``format``, ``file``, ``precision``, ``bytes``, ``status``, and `Figures` if ``measured``, else
``reason``."""

Report = dict[str, Any]
"""The result of ``sonoforge bench``: ``bundle``, ``model``, ``machine``, ``threads``, ``batches``, ``seconds``,
``rounds``, ``golden_images``, ``files`` (of `Row`), ``energy``; and with another bundle to compare with ``against``
(its ``bundle``, ``model``, ``files``) and ``ratios``: `Ratios` by format."""

Ratios = dict[str, float | None]
"""How many times better this bundle's file is than the other's; None where either has no figure."""


def joules(row: Row) -> float | None:
    """Return the energy of one image at batch 1, if known."""
    if row["status"] != "measured":
        return None
    found: float | None = row["batches"].get("1", {}).get("joules")
    return found


@dataclass(frozen=True)
class ModelFile:
    """One file to measure."""

    side: str  # its bundle, ``""`` or ``against``
    format: str
    precision: str
    path: Path  # of its checked bytes


@dataclass(frozen=True)
class Inputs:
    """A bundle's images and golden answers."""

    # Golden images and images to time, (N, S, S, 3), for files with the preprocessing inside.
    pixels: tuple[NDArray[np.uint8], NDArray[np.uint8]]
    tensors: tuple[NDArray[np.float32], NDArray[np.float32]]  # for all others: the same, normalised, (N, 3, S, S)
    logits: NDArray[np.float32]  # (N, n)


@dataclass(frozen=True)
class Plan:
    """How to measure."""

    threads: int  # for one inference
    batches: tuple[int, ...]
    seconds: float  # of timing for each file, over all rounds
    rounds: int


@dataclass
class _Trial:
    """Findings of one file so far; ``failure`` is why it can no longer be measured."""

    file: ModelFile
    golden: NDArray[np.float32]
    records: list[Record] = field(default_factory=list)
    failure: str = ""


def measure(
    files: Sequence[ModelFile], inputs: Mapping[str, Inputs], plan: Plan, work: Path, report: Callable[[str], None]
) -> list[Figures | str]:
    """Measure every file in each round, so that a busy machine slows all of them alike.

    ``inputs`` are by side; ``work`` is an empty folder for exchange between the processes; ``report`` is called with
    each line of progress.

    Returns:
        For each file its figures, or why it failed.
    """
    for side, values in inputs.items():
        kinds: dict[str, tuple[NDArray[Any], NDArray[Any]]] = {"pixels": values.pixels, "tensors": values.tensors}
        for kind, (golden, timed) in kinds.items():
            np.save(work / f"{side}{kind}-golden.npy", golden)
            np.save(work / f"{side}{kind}-inputs.npy", timed)
    baseline, _ = _turn(ModelFile(files[0].side, "", "", Path()), plan, plan.batches, work)
    floor = baseline[-1]["memory_bytes"] if baseline else None
    trials = [_Trial(file, inputs[file.side].logits) for file in files]
    for number in range(plan.rounds):
        running = [trial for trial in trials if not trial.failure]
        report(f"round {number + 1} of {plan.rounds}: {len(running)} files")
        for trial in running:
            _take_turn(trial, plan, work)
    return [trial.failure or summarise(trial.records, trial.golden, floor) for trial in trials]


def _take_turn(trial: _Trial, plan: Plan, work: Path) -> None:
    """Measure a file once more, at the batch sizes at which it has run so far."""
    broken = {record["batch"] for record in trial.records if "error" in record}
    batches = tuple(batch for batch in plan.batches if batch not in broken)
    found, ended = _turn(trial.file, plan, batches, work)
    trial.records += found
    timed = [record["batch"] for record in found if "batch" in record]
    if ended and timed and len(timed) < len(batches):  # a larger batch crashed the process
        trial.records.append(Record(batch=batches[len(timed)], error=ended, memory_bytes=None))
        ended = ""
    trial.failure = ended or _wrong_answers(trial, found)


def _turn(file: ModelFile, plan: Plan, batches: Sequence[int], work: Path) -> tuple[list[Record], str]:
    """Run one process; return its records and, if it failed, how."""
    kind = "pixels" if file.format.endswith("-uint8") else "tensors"
    target = work / "records.jsonl"
    target.write_text("", encoding="utf-8")
    task: Task = {
        "format": file.format,
        "path": str(file.path),
        "threads": plan.threads,
        "batches": list(batches),
        "seconds": plan.seconds / plan.rounds,
        "golden": str(work / f"{file.side}{kind}-golden.npy"),
        "inputs": str(work / f"{file.side}{kind}-inputs.npy"),
        "records": str(target),
    }
    (work / "task.json").write_text(json.dumps(task), encoding="utf-8")
    try:
        done = run_module("sonoforge.runtime.bench.process", work / "task.json", work, _LONGEST)
    except subprocess.TimeoutExpired:
        ended = f"its runner did not end within {_LONGEST} seconds"
    else:
        how = how_it_ended(done).replace(f"{file.path.parent}{os.sep}", "")  # without the temporary folder's name
        ended = f"its runner ended with {how[:220]}" if how else ""
    return [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()], ended


def _logits(records: Sequence[Record]) -> NDArray[np.float64]:
    return np.array(next(record["logits"] for record in records if "logits" in record))


def _wrong_answers(trial: _Trial, records: Sequence[Record]) -> str:
    """Return what is wrong with the answers of one turn, or an empty string."""
    logits = _logits(records)
    if logits.shape != trial.golden.shape:
        return f"its first output has the shape {logits.shape}, not {trial.golden.shape}; export it again"
    difference = float(np.abs(logits - trial.golden).max())
    if not np.isfinite(difference) or (trial.file.precision == "fp32" and difference > TOLERANCE):
        return f"its logits differ by {difference:.2g} from the golden ones, more than {TOLERANCE:g}; export it again"
    if not any("ms" in record for record in records):
        errors = [record["error"] for record in records if "error" in record]
        return f"it ran at no batch size: {errors[0]}"
    return ""


def summarise(records: Sequence[Record], golden: NDArray[np.float32], floor: int | None) -> Figures:
    """Summarise all turns of a file with golden logits (N, n); ``floor``: bytes of a process without a model."""
    starts = [record for record in records if "load_ms" in record]
    logits = _logits(records)
    batches: dict[str, dict[str, Any]] = {}
    for batch in dict.fromkeys(record["batch"] for record in records if "batch" in record):
        turns = [record for record in records if record.get("batch") == batch]
        errors = [record["error"] for record in turns if "error" in record]
        batches[str(batch)] = {"error": errors[0]} if errors else _summarise_batch(batch, turns)
    ran = {batch: values for batch, values in batches.items() if "error" not in values}
    best = max(ran, key=lambda batch: ran[batch]["images_per_s"])

    def memory(chosen: Sequence[Record]) -> int | None:
        peaks = [peak for record in chosen if (peak := record.get("memory_bytes"))]
        return min(peaks) - floor if peaks and floor else None

    single = [record for record in records if record.get("batch") == 1 and "ms" in record]
    last = [record for record in records if str(record.get("batch")) == list(ran)[-1] and "ms" in record]
    one = ran.get("1")
    return {
        "program": starts[0]["program"],
        "load_ms": min(record["load_ms"] for record in starts),
        "first_ms": min(record["first_ms"] for record in starts),
        "latency_ms": {"p50": one["p50_ms"], "p95": one["p95_ms"], "p99": one["p99_ms"]} if one else None,
        "throughput": {"images_per_s": ran[best]["images_per_s"], "batch": int(best)},
        "memory_bytes": memory(single or last),
        "peak_memory_bytes": memory(last),
        "max_abs_logits": float(np.abs(logits - golden).max()),
        "labels_equal": int((logits.argmax(1) == golden.argmax(1)).sum()),
        "batches": batches,
    }


def _summarise_batch(batch: int, turns: Sequence[Record]) -> dict[str, Any]:
    calls = np.concatenate([record["ms"] for record in turns])
    median = min(float(np.median(record["ms"])) for record in turns)
    joules = [value for record in turns if (value := record["joules"]) is not None]
    return {
        "p50_ms": median,
        "p95_ms": float(np.percentile(calls, 95)),
        "p99_ms": float(np.percentile(calls, 99)),
        "calls": len(calls),
        "images_per_s": 1e3 * batch / median,
        "cores": float(np.mean([record["cores"] for record in turns])),
        "joules": min(joules) / batch if joules else None,
    }
