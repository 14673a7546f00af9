"""The figures of ``sonoforge bench`` as a table and, drawn by Pillow alone, as a picture."""

from __future__ import annotations

import io
import logging
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from sonoforge.runtime.bench.measure import Report, Row, joules
from sonoforge.runtime.cli.answer import say

log = logging.getLogger(__name__)

_BUSY = 0.9  # a process with a core of its own keeps it busy while it computes
_COLUMNS = (
    *("format", "size MB", "load ms", "first ms", "p50 ms", "p95 ms", "p99 ms", "images/s (batch)", "memory MB", "mJ"),
    *("logits off by", "labels"),
)


def print_head(report: Report) -> None:
    """Print the models, the machine and the plan."""
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
    """Print the tables of both bundles, the failures, and notes on the figures."""
    _print_files(report["files"], report["golden_images"])
    if "against" in report:
        say("\nthe other bundle: %s", report["against"]["bundle"])
        _print_files(report["against"]["files"], report["golden_images"])
        others = {row["format"] for row in report["against"]["files"]}
        for row in report["files"]:
            if row["format"] not in others:
                say("%s: the other bundle has no such file", row["format"])
        for name, ratio in report["ratios"].items():
            text = ", ".join(f"{key} {value:.2f}" for key, value in ratio.items() if value is not None)
            say("%s: times better than the other bundle: %s", name, text)
    measured = [row for row in report["files"] if row["status"] == "measured"]
    say("\nrun by    %s", "; ".join(sorted({row["program"] for row in measured})) or "nothing")
    say("load      from the import of the runner until the file can answer; the smallest of the rounds")
    say("memory    of the process with the runner and the file, beyond a process without")
    if report["energy"] != "read":
        say("energy    not readable on this machine")
    on_cpu = [row for row in measured if row["latency_ms"] and not row["format"].startswith("tensorrt")]
    busy = np.mean([row["batches"]["1"]["cores"] for row in on_cpu]) if on_cpu else 1
    if busy < _BUSY:
        log.warning("busy      other work left %.2f of a core to a file; repeat on an idle machine", busy)


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


_WIDTH, _ROW, _BAR, _MARGIN = 1100, 44, 20, 28
_INK, _GREY, _LINE = (33, 37, 41), (108, 117, 125), (222, 226, 230)
# Different in lightness as well as hue, for print and for colour-blind readers.
_OURS, _OTHER = (31, 95, 153), (168, 200, 226)


class _Bar(NamedTuple):
    label: str
    p50: float  # ms
    p95: float
    remarks: str
    colour: tuple[int, int, int]


def draw(report: Report) -> bytes:
    """Draw the median latency of one image as bars with a whisker to the 95th percentile, as PNG.

    Files of the other bundle are drawn below those of the same format.
    """
    bars = _bars(report)
    font, small, title = (ImageFont.load_default(size) for size in (16, 13, 20))
    top = _MARGIN + 62
    bottom = top + _ROW * max(1, len(bars))
    image = Image.new("RGB", (_WIDTH, bottom + _MARGIN + 60), "white")
    pen = ImageDraw.Draw(image)
    pen.text((_MARGIN, _MARGIN), "Latency of one image: median, whisker to the 95th percentile", _INK, title)
    about = f"{report['model']['name']} {report['model']['version']}, {report['machine']['cpu']}, "
    pen.text((_MARGIN, _MARGIN + 30), f"{about}threads for one inference: {report['threads']}", _GREY, small)
    left = 2 * _MARGIN + max((int(pen.textlength(bar.label, font)) for bar in bars), default=0)
    right = _WIDTH - 230
    longest = max((bar.p95 for bar in bars), default=1.0)
    steps = (digit * 10.0**power for power in range(-6, 9) for digit in (1, 2, 5))
    step = next(step for step in steps if longest <= 8 * step)  # round, for four to eight ticks
    ticks = int(-(-longest // step))
    scale = (right - left) / (step * ticks)
    for index in range(ticks + 1):
        x = left + scale * step * index
        pen.line((x, top, x, bottom), _LINE)
        pen.text((x, bottom + 6), f"{step * index:g}", _GREY, small, anchor="ma")
    pen.text(((left + right) / 2, bottom + 26), "milliseconds", _GREY, small, anchor="ma")
    for index, bar in enumerate(bars):
        y = top + _ROW * index + _ROW / 2
        p50, p95 = left + scale * bar.p50, left + scale * bar.p95
        pen.text((left - 12, y), bar.label, _INK, font, anchor="rm")
        pen.rectangle((left, y - _BAR / 2, max(p50, left + 1), y + _BAR / 2), bar.colour)
        pen.line((p50, y, p95, y), _INK, 2)
        pen.line((p95, y - 6, p95, y + 6), _INK, 2)
        for text, colour, offset in ((f"{bar.p50:.2f} ms", _INK, -9), (bar.remarks, _GREY, 9)):
            corner = (p95 + 12, y + offset)
            pen.rectangle(pen.textbbox(corner, text, small, anchor="lm"), "white")  # no grid through the text
            pen.text(corner, text, colour, small, anchor="lm")
    if not bars:
        pen.text((_MARGIN, top + 10), "No file could be measured with one image.", _INK, font)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _bars(report: Report) -> list[_Bar]:
    """Return a bar for each file with a latency, the other bundle's below the same format."""
    others = {row["format"]: row for row in (report["against"]["files"] if "against" in report else [])}
    rows = []
    for row in report["files"]:
        rows.append((row["format"], row, _OURS))
        if row["format"] in others:
            rows.append((f"{row['format']}, other", others.pop(row["format"]), _OTHER))
    rows += [(f"{name}, other", row, _OTHER) for name, row in others.items()]
    bars = []
    for label, row, colour in rows:
        if latency := row.get("latency_ms"):
            memory = "" if row["memory_bytes"] is None else f", {row['memory_bytes'] / 1e6:.0f} MB memory"
            remarks = f"{row['bytes'] / 1e6:.1f} MB file{memory}"
            bars.append(_Bar(label, latency["p50"], latency["p95"], remarks, colour))
    return bars
