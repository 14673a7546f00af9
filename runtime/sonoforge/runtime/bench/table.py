"""The figures of ``sonoforge bench`` as a table."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from sonoforge.runtime.bench.results import Report, Row, joules
from sonoforge.runtime.cli.answer import say

log = logging.getLogger(__name__)

_BUSY = 0.9  # a process with a core of its own keeps it busy while it computes
_COLUMNS = (
    *("format", "size MB", "load ms", "first ms", "p50 ms", "p95 ms", "p99 ms", "images/s (batch)", "memory MB", "mJ"),
    *("logits off by", "labels"),
)


def print_head(report: Report) -> None:
    """Print what is measured, and where."""
    machine, model = report["machine"], report["model"]
    instructions = (
        "instructions not readable" if machine["instructions"] is None else ", ".join(machine["instructions"])
    )
    batches = ", ".join(map(str, report["batches"]))
    say("bundle    %s: %s %s", report["bundle"], model["name"], model["version"])
    say("machine   %s, %d cores, %s", machine["cpu"], machine["cores"], instructions)
    plan = (report["threads"], batches, report["seconds"], report["rounds"])
    say("timing    threads %d, batches %s, %g s a file in %d rounds", *plan)


def print_figures(report: Report) -> None:
    """Print the tables of both bundles, what could not be measured, and how to read the figures."""
    _print_files(report["files"], report["golden_images"])
    if "against" in report:
        say("\nthe other bundle: %s", report["against"]["bundle"])
        _print_files(report["against"]["files"], report["golden_images"])
        others = {row["format"] for row in report["against"]["files"]}
        for row in report["files"]:
            if row["format"] not in others:
                say("%s: the other bundle has no such file: nothing to compare with", row["format"])
        for name, ratio in report["ratios"].items():
            text = ", ".join(f"{key} {value:.2f}" for key, value in ratio.items() if value is not None)
            say("%s: times better than the other bundle: %s", name, text)
    measured = [row for row in report["files"] if row["status"] == "measured"]
    say("\nrun by    %s", "; ".join(sorted({row["program"] for row in measured})) or "nothing")
    say("load      from the program's import until the file can answer; the smallest of the rounds")
    say("memory    what the process of a file needs beyond one without a model, its program included")
    if report["energy"] != "read":
        say("energy    not readable on this machine")
    on_cpu = [row for row in measured if row["latency_ms"] and not row["format"].startswith("tensorrt")]
    busy = np.mean([row["batches"]["1"]["cores"] for row in on_cpu]) if on_cpu else 1
    if busy < _BUSY:
        log.warning("busy      other work left %.2f of a core to a file: repeat on an idle machine", busy)


def _print_files(rows: Sequence[Row], images: int) -> None:
    table = [_COLUMNS, *(_cells(row, images) for row in rows if row["status"] == "measured")]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    if len(table) > 1:
        say("")
        for cells in table:
            say("%s", f"{cells[0]:<{widths[0]}}  " + "  ".join(map(str.rjust, cells[1:], widths[1:])))
    for row in rows:
        if row["status"] != "measured":
            say("%s: %s: %s", row["format"], row["status"], row["reason"])
            continue
        for batch, values in row["batches"].items():
            if "error" in values:
                say("%s: does not run at batch %s: %s", row["format"], batch, values["error"])


def _cells(row: Row, images: int) -> tuple[str, ...]:
    latency = row["latency_ms"] or dict.fromkeys(("p50", "p95", "p99"), np.nan)
    memory, energy = row["memory_bytes"], joules(row)
    return (
        row["format"],
        f"{row['bytes'] / 1e6:.2f}",
        f"{row['load_ms']:.0f}",
        f"{row['first_ms']:.1f}",
        *(f"{latency[key]:.2f}" for key in ("p50", "p95", "p99")),
        f"{row['throughput']['images_per_s']:.0f} ({row['throughput']['batch']})",
        "-" if memory is None else f"{memory / 1e6:.0f}",
        "-" if energy is None else f"{1e3 * energy:.1f}",
        f"{row['max_abs_logits']:.1g}",
        f"{row['labels_equal']}/{images}",
    )
