"""Measure speed, memory and size of each model file in a bundle, on this machine.

Every file that can run here is measured in separate processes, ``python -m sonoforge.runtime.jobs.benchmark TASKFILE``,
in short rounds that take turns, so that other work on the machine slows all of them equally. Its answers to the golden
images are checked first: a float32 file that answers wrongly is refused; for others the difference is reported. Each
finding is written at once as one line of JSON, so that a crash loses none.
"""

import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime import machine
from sonoforge.runtime.atomic import temporary_folder
from sonoforge.runtime.bundle.classification import ClassifierManifest
from sonoforge.runtime.bundle.reader import Bundle, open_bundle
from sonoforge.runtime.errors import SonoforgeError, check_known, reason
from sonoforge.runtime.inference.runners import (
    NOT_TRUSTED,
    leave_with_parent,
    missing,
    needs_trust,
    open_file,
    run_module,
)
from sonoforge.runtime.settings import BenchConfig

TOLERANCE = 1e-3
"""Largest difference of a float32 file from the golden logits, as in ``sonoforge verify``."""
_MOST_CALLS = 100_000
_LONGEST = 600  # seconds that one process may take, so that a hanging one does not block the others

Record = dict[str, Any]
Row = dict[str, Any]

log = logging.getLogger(__name__)


def measure_bundle(config: BenchConfig) -> dict[str, Any]:
    """Measure the files of a classifier's bundle; return what ``sonoforge bench --json`` prints."""
    bundle = open_bundle(config.bundle or None)
    manifest, golden = bundle.manifest, bundle.golden()
    known = [entry.format for entry in manifest.files.values() if entry.format]
    for name in config.formats:
        check_known(f"{bundle.path}: formats", name, known)
    report: dict[str, Any] = {
        "bundle": config.bundle or "shipped",
        "model": manifest.identity,
        "machine": machine.describe(),
        "threads": config.threads,
        "batches": sorted(set(config.batches)),
        "seconds": config.seconds,
        "rounds": config.rounds,
        "golden_images": len(golden["logits"]),
        "files": [*_rows(bundle, config.formats or known, config.trust)],
    }
    with temporary_folder() as folder:
        np.save(folder / "pixels.npy", golden["pixels"])
        np.save(folder / "tensors.npy", manifest.preprocessing.normalise(golden["pixels"]))
        _measure([row for row in report["files"] if row["status"] == "measured"], bundle, report, folder)
    return report


def _rows(bundle: Bundle[ClassifierManifest], formats: Sequence[str], trust: bool) -> Iterator[Row]:
    """Yield a row without figures for each model file, saying whether it may and can run on this machine."""
    files = bundle.manifest.files
    for name, entry in files.items():
        if not entry.format or entry.format not in formats:
            continue
        size = sum(files[file].bytes for file in (name, f"{name}.json") if file in files)
        row: Row = {"format": entry.format, "file": name, "precision": entry.precision, "bytes": size}
        if needs_trust(entry.format) and not trust:
            yield {**row, "status": "not run", "reason": NOT_TRUSTED}
        elif why := missing(entry.format).removeprefix(f"{entry.format}: "):
            yield {**row, "status": "cannot run here", "reason": why}
        else:
            yield {**row, "status": "measured"}


def _measure(rows: Sequence[Row], bundle: Bundle[ClassifierManifest], plan: Row, folder: Path) -> None:
    """Fill in each row's figures, or why it failed; measure every file in each round."""
    (folder / "files").mkdir()
    floor = None
    if rows:
        baseline, _ = _turn("", Path(), plan["batches"], plan, folder)
        floor = baseline[-1]["memory_bytes"] if baseline else None
    golden = bundle.golden()["logits"]
    found: dict[str, list[Record]] = {row["format"]: [] for row in rows}
    for row in rows:
        bundle.extract(row["file"], folder / "files")
    for number in range(plan["rounds"]):
        running = [row for row in rows if row["status"] == "measured"]
        log.info("round %d of %d: %d files", number + 1, plan["rounds"], len(running))
        for row in running:
            if why := _take_turn(row, found[row["format"]], golden, plan, folder):
                row.update(status="failed", reason=why)
    for row in rows:
        if row["status"] == "measured":
            row.update(summarise(found[row["format"]], golden, floor))


def _take_turn(row: Row, records: list[Record], golden: NDArray[np.float32], plan: Row, folder: Path) -> str:
    """Measure a file once more, at the batch sizes that have worked so far; return why that failed."""
    broken = {record["batch"] for record in records if "error" in record}
    batches = [batch for batch in plan["batches"] if batch not in broken]
    found, ended = _turn(row["format"], folder / "files" / row["file"], batches, plan, folder)
    records.extend(found)
    timed = [record["batch"] for record in found if "batch" in record]
    if ended and timed and len(timed) < len(batches):  # a larger batch crashed the process
        records.append({"batch": batches[len(timed)], "error": ended})
        ended = ""
    if ended:
        return ended
    logits = _logits(found)
    if logits.shape != golden.shape:
        return f"its first output has the shape {logits.shape}, not {golden.shape}; export it again"
    difference = float(np.abs(logits - golden).max())
    if not np.isfinite(difference) or (row["precision"] == "fp32" and difference > TOLERANCE):
        return f"its logits differ by {difference:.2g} from the golden ones, more than {TOLERANCE:g}; export it again"
    if not any("ms" in record for record in found):
        return f"it ran at no batch size: {next(record['error'] for record in found if 'error' in record)}"
    return ""


def _turn(form: str, path: Path, batches: list[int], plan: Row, folder: Path) -> tuple[list[Record], str]:
    """Run one process; return its records and how it failed, if it did."""
    target = folder / "records.jsonl"
    target.write_text("", encoding="utf-8")
    task = {
        "format": form,
        "path": str(path),
        "threads": plan["threads"],
        "batches": batches,
        "seconds": plan["seconds"] / plan["rounds"],
        "golden": str(folder / ("pixels.npy" if form.endswith("-uint8") else "tensors.npy")),
        "records": str(target),
    }
    (folder / "task.json").write_text(json.dumps(task), encoding="utf-8")
    how = run_module(__name__, folder / "task.json", folder, _LONGEST)
    how = how.replace(f"{path.parent}{os.sep}", "")[:230]  # without the temporary folder's name
    ended = f"its runner {how}" if how else ""
    return [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()], ended


def _logits(records: Sequence[Record]) -> NDArray[np.float64]:
    return np.array(next(record["logits"] for record in records if "logits" in record))


def summarise(records: Sequence[Record], golden: NDArray[np.float32], floor: int | None) -> Row:
    """Summarise all rounds of a file with golden logits (N, n); ``floor`` is the bytes of a process without a model.

    Returns:
        ``load_ms``: from the runner's import until the file can answer, and ``first_ms``: the first answer, both the
        smallest of the rounds; ``latency_ms``: ``p50``, ``p95``, ``p99`` at batch 1, or None; ``throughput``: highest
        ``images_per_s`` and its ``batch``; ``memory_bytes`` at batch 1, beyond a process without a model;
        ``max_abs_logits``: largest difference from the golden logits; ``labels_equal``: golden images with the golden
        label; ``batches``: by size ``p50_ms`` (smallest of the rounds' medians), ``p95_ms``, ``p99_ms``, ``calls``,
        ``images_per_s``, or its ``error``.
    """
    starts, logits = [record for record in records if "load_ms" in record], _logits(records)
    batches: dict[str, Row] = {}
    for batch in dict.fromkeys(record["batch"] for record in records if "batch" in record):
        turns = [record for record in records if record.get("batch") == batch]
        errors = [record["error"] for record in turns if "error" in record]
        batches[str(batch)] = {"error": errors[0]} if errors else _summarise_batch(batch, turns)
    ran = {batch: values for batch, values in batches.items() if "error" not in values}
    best, one = max(ran, key=lambda batch: ran[batch]["images_per_s"]), ran.get("1")
    chosen = min(map(int, ran))
    peaks = [record["memory_bytes"] for record in records if record.get("batch") == chosen and record["memory_bytes"]]
    return {
        "load_ms": min(record["load_ms"] for record in starts),
        "first_ms": min(record["first_ms"] for record in starts),
        "latency_ms": {"p50": one["p50_ms"], "p95": one["p95_ms"], "p99": one["p99_ms"]} if one else None,
        "throughput": {"images_per_s": ran[best]["images_per_s"], "batch": int(best)},
        "memory_bytes": min(peaks) - floor if peaks and floor else None,
        "max_abs_logits": float(np.abs(logits - golden).max()),
        "labels_equal": int((logits.argmax(1) == golden.argmax(1)).sum()),
        "batches": batches,
    }


def _summarise_batch(batch: int, turns: Sequence[Record]) -> Row:
    calls, median = np.concatenate([turn["ms"] for turn in turns]), min(float(np.median(turn["ms"])) for turn in turns)
    p95, p99 = map(float, np.percentile(calls, (95, 99)))
    return {"p50_ms": median, "p95_ms": p95, "p99_ms": p99, "calls": len(calls), "images_per_s": 1e3 * batch / median}


# ---- in a process of its own


def _time_file(task: dict[str, Any]) -> None:
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
        answer = open_file(task["format"], Path(task["path"]), task["threads"])
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
    while len(times) < 3 or (perf_counter() - begin < seconds and len(times) < _MOST_CALLS):
        started = perf_counter()
        run()
        times.append(round(1e3 * (perf_counter() - started), 4))
    return times


if __name__ == "__main__":
    leave_with_parent()
    try:
        _time_file(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    except SonoforgeError as error:
        sys.exit(str(error))
