"""The figures of ``sonoforge bench`` as they pass between its processes and as they stand in its JSON result."""

from __future__ import annotations

from typing import Any, TypedDict


class Task(TypedDict):
    """What a measuring process has to do.

    Attributes:
        format: Of the file; empty: open none, its memory is what the process needs anyway.
        path: The file.
        threads: Threads for one inference.
        batches: Batch sizes to time.
        seconds: Of timing, over all batch sizes.
        golden: ``.npy`` file of the images whose answers are known.
        inputs: ``.npy`` file of the images to time.
        records: JSON lines file for the findings.
    """

    format: str
    path: str
    threads: int
    batches: list[int]
    seconds: float
    golden: str
    inputs: str
    records: str


class Timing(TypedDict, total=False):
    """``ms`` of each call, mean number of busy ``cores``, ``joules`` a call (None where not readable)."""

    ms: list[float]
    cores: float
    joules: float | None


class Record(Timing, total=False):
    """One finding of a measuring process: a start, the golden answers, or the timing of a batch size or its error."""

    memory_bytes: int | None
    load_ms: float
    first_ms: float
    program: str
    logits: list[list[float]]
    batch: int
    error: str


class Batch(TypedDict, total=False):
    """Figures of one batch size over all rounds, or the ``error``.

    Attributes:
        p50_ms: Smallest of the rounds' medians.
        p95_ms: 95th percentile of all calls.
        p99_ms: 99th percentile of all calls.
        calls: Number of timed calls.
        images_per_s: At the median.
        cores: Mean number of busy cores.
        joules: Energy an image; None where not readable.
        error: Why the file does not run at this batch size.
    """

    p50_ms: float
    p95_ms: float
    p99_ms: float
    calls: int
    images_per_s: float
    cores: float
    joules: float | None
    error: str


class Throughput(TypedDict):
    """The highest rate, and the batch size that reaches it."""

    images_per_s: float
    batch: int


class Figures(TypedDict, total=False):
    """Figures of one file over all rounds.

    Attributes:
        program: The package that ran it, with its version.
        load_ms: Smallest of the rounds: from the program's import until the file can answer.
        first_ms: Smallest of the rounds: the first answer.
        latency_ms: ``p50``, ``p95`` and ``p99`` at batch 1; None where the file does not run at batch 1.
        throughput: At the best batch size.
        memory_bytes: Memory at batch 1, beyond that of a process without a model.
        peak_memory_bytes: The same at the largest batch size.
        max_abs_logits: Largest difference from the golden logits.
        labels_equal: Number of golden images with the golden label.
        batches: By batch size.
    """

    program: str
    load_ms: float
    first_ms: float
    latency_ms: dict[str, float] | None
    throughput: Throughput
    memory_bytes: int | None
    peak_memory_bytes: int | None
    max_abs_logits: float
    labels_equal: int
    batches: dict[str, Batch]


class Row(Figures, total=False):
    """One model file: its figures if ``status`` is ``measured``, else the ``reason``."""

    format: str
    file: str
    precision: str
    bytes: int
    status: str
    reason: str


class Other(TypedDict):
    """The bundle given by ``--against``."""

    bundle: str
    model: dict[str, str]
    files: list[Row]


class Ratio(TypedDict):
    """How many times better this bundle's file is than the other's; None where one of the two has no figure."""

    latency: float | None
    throughput: float
    memory: float | None
    bytes: float


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
    against: Other
    ratios: dict[str, Ratio]


def joules(row: Row) -> float | None:
    """Return the energy of one image at batch 1, where it is known."""
    return row["batches"].get("1", Batch()).get("joules") if row["status"] == "measured" else None
