"""Measure model files in turns, each in processes of its own, and summarise the rounds; see `verbs.bench`."""

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

_LONGEST = 600  # seconds that one process may take: one that hangs must not block the others


class Task(TypedDict):
    """What a measuring process has to do."""

    format: str  # empty: open no file; its memory is what the process needs anyway
    path: str
    threads: int
    batches: list[int]
    seconds: float  # of timing, over all batch sizes
    golden: str  # .npy file of the images whose answers are known
    inputs: str  # .npy file of the images to time
    records: str  # JSON lines file for the findings


class Record(TypedDict, total=False):
    """One finding of a measuring process: a start, the golden answers, or the timing of a batch size or its error."""

    memory_bytes: int | None
    load_ms: float
    first_ms: float
    program: str
    logits: list[list[float]]
    batch: int
    ms: list[float]  # of each call
    cores: float  # mean number of busy ones
    joules: float | None  # a call; None where not readable
    error: str


class Batch(TypedDict, total=False):
    """Figures of one batch size over all rounds, or the ``error``."""

    p50_ms: float  # smallest of the rounds' medians
    p95_ms: float  # of all calls
    p99_ms: float
    calls: int
    images_per_s: float  # at the median
    cores: float  # busy, on average
    joules: float | None  # an image; None where not readable
    error: str


class Figures(TypedDict, total=False):
    """Figures of one file over all rounds; memory is counted beyond that of a process without a model."""

    program: str  # package that ran it, with its version
    load_ms: float  # from the program's import until the file can answer; smallest of the rounds
    first_ms: float  # the first answer; smallest of the rounds
    latency_ms: dict[str, float] | None  # p50, p95 and p99 at batch 1, where it runs
    throughput: dict[str, float]  # highest images_per_s, and the batch that reaches it
    memory_bytes: int | None  # at batch 1
    peak_memory_bytes: int | None  # at the largest batch size
    max_abs_logits: float  # largest difference from the golden logits
    labels_equal: int  # golden images with the golden label
    batches: dict[str, Batch]


class Row(Figures, total=False):
    """One model file: its figures if ``status`` is ``measured``, else the ``reason``."""

    format: str
    file: str
    precision: str
    bytes: int
    status: str
    reason: str


Ratios = dict[str, float | None]
"""How many times better this bundle's file is than the other's; None where one of the two has no figure."""


class Report(TypedDict, total=False):
    """The result of ``sonoforge bench``; ``against`` and ``ratios`` only with another bundle to compare with."""

    bundle: str
    model: dict[str, str]
    machine: dict[str, Any]
    threads: int
    batches: tuple[int, ...]
    seconds: float
    rounds: int
    golden_images: int
    files: list[Row]
    energy: str
    against: Report  # its bundle, model and files
    ratios: dict[str, Ratios]  # by format


def joules(row: Row) -> float | None:
    """Return the energy of one image at batch 1, where it is known."""
    return row["batches"].get("1", Batch()).get("joules") if row["status"] == "measured" else None


@dataclass(frozen=True)
class ModelFile:
    """One file to measure: its bundle (``""`` or ``against``), format, precision and where its checked bytes are."""

    side: str
    format: str
    precision: str
    path: Path


@dataclass(frozen=True)
class Inputs:
    """A bundle's images, (N, S, S, 3) uint8 and (N, 3, S, S) float32, and the golden logits."""

    # For files with the preprocessing inside: the golden images, and those to time.
    pixels: tuple[NDArray[np.uint8], NDArray[np.uint8]]
    tensors: tuple[NDArray[np.float32], NDArray[np.float32]]  # for all others: the same, normalised
    logits: NDArray[np.float32]  # (N, n) the golden answers


@dataclass(frozen=True)
class Plan:
    """Threads for one inference, batch sizes, seconds of timing for each file, and the rounds they are spread over."""

    threads: int
    batches: tuple[int, ...]
    seconds: float
    rounds: int


@dataclass
class _Trial:
    """What is known of one file so far; ``failure`` is why it can no longer be measured."""

    file: ModelFile
    golden: NDArray[np.float32]
    records: list[Record] = field(default_factory=list)
    failure: str = ""


def measure(
    files: Sequence[ModelFile], inputs: Mapping[str, Inputs], plan: Plan, work: Path, report: Callable[[str], None]
) -> list[Figures | str]:
    """Measure every file, in rounds in which each has its turn, so that a busy machine slows all alike.

    ``inputs`` are by side; ``work`` is an empty folder for what passes between the processes; ``report`` is called with
    the progress, a line at a time.

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
    """Measure a file once more, at the batch sizes that it has run at so far."""
    broken = {record["batch"] for record in trial.records if "error" in record}
    batches = tuple(batch for batch in plan.batches if batch not in broken)
    found, ended = _turn(trial.file, plan, batches, work)
    trial.records += found
    timed = [record["batch"] for record in found if "batch" in record]
    if ended and timed and len(timed) < len(batches):  # it answers, but a larger batch ends the process
        trial.records.append(Record(batch=batches[len(timed)], error=ended, memory_bytes=None))
        ended = ""
    trial.failure = ended or _wrong_answers(trial, found)


def _turn(file: ModelFile, plan: Plan, batches: Sequence[int], work: Path) -> tuple[list[Record], str]:
    """Run one process; return its records, and how it ended unless it ended well."""
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
        ended = f"the program that runs it did not end within {_LONGEST} seconds"
    else:
        how = how_it_ended(done).replace(f"{file.path.parent}{os.sep}", "")  # a temporary folder's name helps nobody
        ended = f"the program that runs it ended with {how[:220]}" if how else ""
    return [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()], ended


def _logits(records: Sequence[Record]) -> NDArray[np.float64]:
    return np.array(next(record["logits"] for record in records if "logits" in record))


def _wrong_answers(trial: _Trial, records: Sequence[Record]) -> str:
    """Return what is wrong with the answers of one turn; empty if nothing is."""
    logits = _logits(records)
    if logits.shape != trial.golden.shape:
        return (
            f"its first output has the shape {logits.shape}, expected the logits {trial.golden.shape}; export it again"
        )
    difference = float(np.abs(logits - trial.golden).max())
    if not np.isfinite(difference) or (trial.file.precision == "fp32" and difference > TOLERANCE):
        return f"its logits differ by {difference:.2g} from the golden ones, expected {TOLERANCE:g}; export it again"
    if not any("ms" in record for record in records):
        errors = [record["error"] for record in records if "error" in record]
        return f"it ran at no batch size: {errors[0]}"
    return ""


def summarise(records: Sequence[Record], golden: NDArray[np.float32], floor: int | None) -> Figures:
    """Summarise the records of all turns of a file, by its golden logits (N, n).

    ``floor`` is the memory of a process without a model, in bytes.
    """
    starts = [record for record in records if "load_ms" in record]
    logits = _logits(records)
    batches: dict[str, Batch] = {}
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


def _summarise_batch(batch: int, turns: Sequence[Record]) -> Batch:
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
