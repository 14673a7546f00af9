"""The figures of ``sonoforge bench`` as they pass between its processes and as they stand in its JSON result."""

from __future__ import annotations

from typing import Any, TypedDict


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
