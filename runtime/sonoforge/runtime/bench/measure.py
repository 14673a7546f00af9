"""Measure model files in turns, each in processes of its own, and sum up the rounds; see `verbs.bench`."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.inference.model_files import run_module

TOLERANCE = 1e-3
"""Largest difference from the golden logits of a float32 file, as in ``sonoforge verify``."""

_LONGEST = 600  # seconds that one process may take: what hangs must not hang the others


class ModelFile(NamedTuple):
    """One file to measure: its bundle (``""`` or ``against``), format, precision and where its checked bytes lie."""

    side: str
    format: str
    precision: str
    path: Path


class Inputs(NamedTuple):
    """What a bundle's files are asked: images (N, S, S, 3) uint8 and (N, 3, S, S) float32, and the golden logits.

    Attributes:
        pixels: For files with the preprocessing inside: the golden images, and the ones to time.
        tensors: For all others: the same, normalised.
        logits: (N, n) the golden answers.
    """

    pixels: tuple[NDArray[np.uint8], NDArray[np.uint8]]
    tensors: tuple[NDArray[np.float32], NDArray[np.float32]]
    logits: NDArray[np.float32]


class Plan(NamedTuple):
    """Threads for one inference, batch sizes, seconds of timing for each file, over so many rounds."""

    threads: int
    batches: tuple[int, ...]
    seconds: float
    rounds: int


def measure(
    files: Sequence[ModelFile], inputs: dict[str, Inputs], plan: Plan, work: Path, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Measure every file, in rounds in which each has its turn, so that a busy machine slows all alike.

    Args:
        files: What to measure.
        inputs: By side.
        plan: How long.
        work: An empty folder for what passes between the processes.
        say: Told the progress, a line at a time.

    Returns:
        For each file ``status``, ``measured`` or ``failed``, and `_sum_up`'s figures or the ``reason``.
    """
    for side, values in inputs.items():
        for kind in ("pixels", "tensors"):
            for use, array in zip(("golden", "inputs"), getattr(values, kind), strict=True):
                np.save(work / f"{side}{kind}-{use}.npy", array)
    baseline = _turn(ModelFile(files[0].side, "", "", Path()), plan, plan.batches, work)[0]
    floor = baseline[-1]["memory_bytes"] if baseline else None
    records: list[list[dict[str, Any]]] = [[] for _ in files]
    failed: dict[int, str] = {}
    for turn in range(plan.rounds):
        say(f"round {turn + 1} of {plan.rounds}: {len(files) - len(failed)} files")
        for index, file in enumerate(files):
            if index in failed:
                continue
            broken = {record["batch"] for record in records[index] if "error" in record}
            batches = tuple(batch for batch in plan.batches if batch not in broken)
            found, ended = _turn(file, plan, batches, work)
            records[index] += found
            timed = [record["batch"] for record in found if "batch" in record]
            if ended and timed and len(timed) < len(batches):  # it answers, but a larger batch ends the process
                records[index].append({"batch": batches[len(timed)], "error": ended, "memory_bytes": None})
                ended = ""
            reason = ended or _wrong_answers(file, found, inputs[file.side].logits)
            if reason:
                failed[index] = reason
    return [
        {"status": "failed", "reason": failed[index]}
        if index in failed
        else {"status": "measured", **_sum_up(found, inputs[file.side].logits, floor)}
        for index, (file, found) in enumerate(zip(files, records, strict=True))
    ]


def _turn(file: ModelFile, plan: Plan, batches: Sequence[int], work: Path) -> tuple[list[dict[str, Any]], str]:
    """Run one process; return its records, and how it ended where that was not well."""
    kind = "pixels" if file.format.endswith("-uint8") else "tensors"
    target = work / "records.jsonl"
    target.write_text("", encoding="utf-8")
    task = {
        "format": file.format,
        "path": str(file.path),
        "threads": plan.threads,
        "batches": batches,
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
        how = f"signal {-done.returncode}" if done.returncode < 0 else f"exit code {done.returncode}"
        last = " ".join((done.stderr.strip().splitlines() or ["no message"])[-1].split())
        last = last.replace(f"{file.path.parent}{os.sep}", "")[:200]  # a temporary folder tells nobody anything
        ended = f"the program that runs it ended with {how}: {last}" if done.returncode else ""
    lines = target.read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines], ended


def _wrong_answers(file: ModelFile, records: list[dict[str, Any]], golden: NDArray[np.float32]) -> str:
    """Say what is wrong with the answers of one turn, or nothing."""
    logits = np.array(next(record["logits"] for record in records if "logits" in record))
    if logits.shape != golden.shape:
        return f"its first output has the shape {logits.shape}, expected the logits {golden.shape}; export it again"
    difference = float(np.abs(logits - golden).max())
    if not np.isfinite(difference) or (file.precision == "fp32" and difference > TOLERANCE):
        return f"its logits differ by {difference:.2g} from the golden ones, expected {TOLERANCE:g}; export it again"
    if not any("ms" in record for record in records):
        errors = [record["error"] for record in records if "error" in record]
        return f"it ran at no batch size: {errors[0]}"
    return ""


def _sum_up(records: list[dict[str, Any]], golden: NDArray[np.float32], floor: int | None) -> dict[str, Any]:
    """Sum up all rounds of a file.

    Returns:
        ``program``; ``load_ms`` and ``first_ms``, the smallest of the rounds; ``batches``, for each that ran
        ``p50_ms`` (the smallest of the rounds' medians), ``p95_ms`` and ``p99_ms`` (of all calls), ``calls``,
        ``images_per_s`` (at p50), ``cores`` (busy on the average) and ``joules`` an image, or the ``error``;
        ``latency_ms``, {p50, p95, p99} at batch 1; ``throughput``, {images_per_s, batch} of the best batch;
        ``memory_bytes`` that the process needed at batch 1, and ``peak_memory_bytes`` at its largest batch, both
        beyond a process without a model; ``max_abs_logits`` and ``labels_equal`` against the golden answers.
    """
    starts = [record for record in records if "load_ms" in record]
    logits = np.array(next(record["logits"] for record in records if "logits" in record))
    batches: dict[str, dict[str, Any]] = {}
    for batch in dict.fromkeys(record["batch"] for record in records if "batch" in record):
        turns = [record for record in records if record.get("batch") == batch]
        errors = [record["error"] for record in turns if "error" in record]
        batches[str(batch)] = {"error": errors[0]} if errors else _sum_up_batch(batch, turns)
    ran = {batch: values for batch, values in batches.items() if "error" not in values}
    best = max(ran, key=lambda batch: float(ran[batch]["images_per_s"]))

    def memory(chosen: list[dict[str, Any]]) -> int | None:
        peaks = [record["memory_bytes"] for record in chosen if record.get("memory_bytes")]
        return min(peaks) - floor if peaks and floor else None

    single = [record for record in records if record.get("batch") == 1 and "ms" in record]
    last = [record for record in records if str(record.get("batch")) == list(ran)[-1] and "ms" in record]
    return {
        "program": starts[0]["program"],
        "load_ms": min(record["load_ms"] for record in starts),
        "first_ms": min(record["first_ms"] for record in starts),
        "latency_ms": {key: ran["1"][f"{key}_ms"] for key in ("p50", "p95", "p99")} if "1" in ran else None,
        "throughput": {"images_per_s": ran[best]["images_per_s"], "batch": int(best)},
        "memory_bytes": memory(single or last),
        "peak_memory_bytes": memory(last),
        "max_abs_logits": float(np.abs(logits - golden).max()),
        "labels_equal": int((logits.argmax(1) == golden.argmax(1)).sum()),
        "batches": batches,
    }


def _sum_up_batch(batch: int, turns: list[dict[str, Any]]) -> dict[str, Any]:
    calls = np.concatenate([record["ms"] for record in turns])
    median = min(float(np.median(record["ms"])) for record in turns)
    joules = [record["joules"] for record in turns if record["joules"] is not None]
    return {
        "p50_ms": median,
        "p95_ms": float(np.percentile(calls, 95)),
        "p99_ms": float(np.percentile(calls, 99)),
        "calls": len(calls),
        "images_per_s": 1e3 * batch / median,
        "cores": float(np.mean([record["cores"] for record in turns])),
        "joules": min(joules) / batch if joules else None,
    }
