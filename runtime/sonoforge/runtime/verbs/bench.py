"""``sonoforge bench``: measure speed, memory and size of each model file in a bundle, on this machine."""

from collections.abc import Mapping
from typing import Any

from sonoforge.runtime.cli.answer import say, tell_table
from sonoforge.runtime.cli.options import Outcome
from sonoforge.runtime.jobs.benchmark import measure_bundle
from sonoforge.runtime.settings import BenchConfig

_COLUMNS = (
    *("format", "size MB", "load ms", "first ms", "p50 ms", "p95 ms", "p99 ms", "images/s (batch)", "memory MB"),
    *("logits off by", "labels"),
)


def main(config: BenchConfig) -> Outcome:
    """Measure the files of a bundle."""
    report = measure_bundle(config)
    _print(report)
    statuses = [row["status"] for row in report["files"]]
    bad = "failed" in statuses or "measured" not in statuses
    return Outcome(report, "sonoforge doctor" if bad else "", 1 if bad else 0)


def _print(report: Mapping[str, Any]) -> None:
    say("bundle    %s: %s %s", report["bundle"], report["model"]["name"], report["model"]["version"])
    say("machine   %s, %d cores", report["machine"]["cpu"], report["machine"]["cores"])
    figures = report["threads"], ", ".join(map(str, report["batches"])), report["seconds"], report["rounds"]
    say("timing    threads %d, batches %s, %g s per file, %d rounds", *figures)
    measured = [row for row in report["files"] if row["status"] == "measured"]
    if measured:
        tell_table([_COLUMNS, *(_cells(row, report["golden_images"]) for row in measured)], wide=True)
    for row in report["files"]:
        if row["status"] != "measured":
            say("%s: %s: %s", row["format"], row["status"], row["reason"])
        for batch, values in row.get("batches", {}).items():
            if "error" in values:
                say("%s: does not run at batch %s: %s", row["format"], batch, values["error"])
    if not measured:
        return
    say("load      from the import of the runner until the file can answer; the smallest of the rounds")
    say("memory    of the process with the runner and the file, beyond a process without")


def _cells(row: Mapping[str, Any], images: int) -> tuple[str, ...]:
    memory = row["memory_bytes"]
    return (
        row["format"],
        f"{row['bytes'] / 1e6:.2f}",
        f"{row['load_ms']:.0f}",
        f"{row['first_ms']:.1f}",
        *(f"{row['latency_ms'][key]:.2f}" if row["latency_ms"] else "nan" for key in ("p50", "p95", "p99")),
        f"{row['throughput']['images_per_s']:.0f} ({row['throughput']['batch']})",
        "-" if memory is None else f"{memory / 1e6:.0f}",
        f"{row['max_abs_logits']:.1g}",
        f"{row['labels_equal']}/{images}",
    )
