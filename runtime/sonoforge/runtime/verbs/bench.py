"""``sonoforge bench``: how fast, how large and how hungry is each model file of a bundle, on this machine?

Every file that can be run here is measured in processes of its own, in short rounds that take turns, so that other
work on the machine slows all alike.  Its answers to the golden images are checked first: a float32 file that answers
wrongly is refused, for the others the difference is told.

The files that are programs (TorchScript, ExecuTorch, TensorRT) can do on this machine whatever their maker wrote, such
as write files.  They are ``not run`` unless ``--trust`` says that the maker is trusted; ONNX and ORT files always are.

JSON: ``bundle``, ``model``, ``machine`` ({"cpu", "instructions", "cores", "platform", "python"}), ``threads``,
``batches``, ``seconds``, ``rounds``, ``golden_images`` (count), ``energy`` (``read`` or ``not readable``), ``files``:
for each ``format``, ``file``, ``precision``, ``bytes``, ``status`` (``measured``, ``not run``, ``cannot run here``
or ``failed``) and either the ``reason`` or the figures that `sonoforge.runtime.bench.measure` documents; with
``--against``, ``against`` ({"bundle", "model", "files"}) and ``ratios`` ({format: {"latency", "throughput", "memory",
"bytes"}}): how many times better this bundle is than the other, in the formats that both were measured in; ``written``
(paths).

Exit code 0; 1 when a file failed, or none could be measured; 2 when there is no bundle.
"""

from __future__ import annotations

import logging
import platform
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sonoforge.runtime import machine
from sonoforge.runtime.bench.measure import Inputs, ModelFile, Plan, measure
from sonoforge.runtime.bundle.classification import ClassifierManifest
from sonoforge.runtime.bundle.reader import Bundle, open_bundle
from sonoforge.runtime.cli.options import Outcome, argument, option
from sonoforge.runtime.errors import SonoforgeError, did_you_mean
from sonoforge.runtime.images.decoding import read_image
from sonoforge.runtime.inference.model_files import NOT_TRUSTED, missing, runs_code

EXAMPLES = """
sonoforge bench
sonoforge bench runs/00003-run-busi/bundle --formats onnx,onnx-int8 --out speed/
sonoforge bench new.zip --against old.zip --seconds 10
sonoforge bench bundle.zip --threads 4 --batches 1,16,64 --json

exit code: 0 all went well; 1 a file failed or none could be measured; 2 there is no bundle
"""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Config:
    """Settings of ``sonoforge bench``."""

    bundle: str = argument("", help="folder or .zip of a bundle; without it, the one shipped")
    formats: tuple[str, ...] = option((), help="only these formats, such as onnx,onnx-int8", metavar="NAME,...")
    trust: bool = option(False, help="run its programs, too: TorchScript, ExecuTorch, TensorRT files of a known maker")
    threads: int = option(1, help="threads for one inference", limits=(1, 256))
    batches: tuple[int, ...] = option((1, 8, 32), help="images at a time", limits=(1, 1024), metavar="N,...")
    seconds: float = option(3.0, help="seconds of timing for each file", limits=(0.01, 3600))
    rounds: int = option(3, help="turns that each file has", limits=(1, 100))
    against: str = option("", help="another bundle: how many times better is this one?", metavar="PATH")
    image: str = option("", help="time this image instead of the golden ones", metavar="FILE")
    out: str = option("", help="write bench.json and bench.png to this folder", metavar="FOLDER")


def main(config: Config) -> Outcome:
    """Measure the files of one or two bundles; see the top of this module for the result and the exit code."""
    sides = {"": open_bundle(config.bundle or None)}
    if config.against:
        sides["against"] = open_bundle(config.against)
    plan = Plan(config.threads, tuple(sorted(set(config.batches))), config.seconds, config.rounds)
    _check_formats(sides[""], config.formats)
    rows = {side: _rows(bundle, config.formats, config.trust) for side, bundle in sides.items()}
    result = _about(config, plan, sides[""])
    _print_head(result)
    with tempfile.TemporaryDirectory(prefix="sonoforge-bench-") as folder:
        inputs = {side: _inputs(bundle, config.image) for side, bundle in sides.items()}
        for side in sides:
            (Path(folder) / f"{side}files").mkdir()
        chosen = [(side, row) for side in sides for row in rows[side] if row["status"] == "measured"]
        files = [
            ModelFile(
                *(side, row["format"], row["precision"]),
                sides[side].extract(row["file"], Path(folder) / f"{side}files"),
            )
            for side, row in chosen
        ]
        found = measure(files, inputs, plan, Path(folder), lambda line: log.info("%s", line)) if files else []
        for (_, row), figures in zip(chosen, found, strict=True):
            row.update(figures)
    result["golden_images"] = len(inputs[""].logits)
    result["files"] = rows[""]
    result["energy"] = "read" if any(_joules(row) is not None for row in rows[""]) else "not readable"
    if config.against:
        other = sides["against"]
        result["against"] = {"bundle": config.against, "model": _model(other), "files": rows["against"]}
        result["ratios"] = _ratios(rows[""], rows["against"])
    _print(result)
    result["written"] = _write(result, config.out)
    statuses = [row["status"] for side in rows.values() for row in side]
    bad = "failed" in statuses or "measured" not in statuses
    again = f"sonoforge bench{f' {config.bundle!r}' if config.bundle else ''} --out speed/"
    return Outcome(result, "sonoforge doctor" if config.out or bad else again, 1 if bad else 0)


def _check_formats(bundle: Bundle[ClassifierManifest], formats: tuple[str, ...]) -> None:
    known = [entry.format for entry in bundle.manifest.files.values() if entry.format]
    for name in formats:
        if name not in known:
            hint = did_you_mean(name, known)
            raise SonoforgeError(f"{bundle.path}: found no format {name!r}, expected one of {', '.join(known)}{hint}")


def _rows(bundle: Bundle[ClassifierManifest], formats: tuple[str, ...], trust: bool) -> list[dict[str, Any]]:
    """Return one row for each model file, told apart by whether it may and can run on this machine."""
    rows: list[dict[str, Any]] = []
    for name, entry in bundle.manifest.files.items():
        if not entry.format or (formats and entry.format not in formats):
            continue
        row: dict[str, Any] = {"format": entry.format, "file": name, "precision": entry.precision, "bytes": entry.bytes}
        rows.append(row)
        if runs_code(entry.format) and not trust:
            row |= {"status": "not run", "reason": NOT_TRUSTED}
        elif reason := missing(entry.format).removeprefix(f"{entry.format}: "):
            row |= {"status": "cannot run here", "reason": reason}
        else:
            row["status"] = "measured"
    return rows


def _inputs(bundle: Bundle[ClassifierManifest], image: str) -> Inputs:
    golden, prepare = bundle.golden(), bundle.manifest.preprocessing
    pixels = prepare.resize(read_image(image))[None] if image else golden["pixels"]
    tensors = (prepare.normalise(golden["pixels"]), prepare.normalise(pixels))
    return Inputs((golden["pixels"], pixels), tensors, golden["logits"])


def _about(config: Config, plan: Plan, bundle: Bundle[ClassifierManifest]) -> dict[str, Any]:
    return {
        "bundle": config.bundle or "shipped",
        "model": _model(bundle),
        "machine": {
            "cpu": machine.cpu_model(),
            "instructions": machine.cpu_instructions(),
            "cores": machine.cores(),
            "platform": platform.platform(),
            "python": platform.python_version(),
        },
        **plan._asdict(),
    }


def _model(bundle: Bundle[ClassifierManifest]) -> dict[str, str]:
    manifest = bundle.manifest
    return {"name": manifest.name, "version": manifest.version, "sha256": manifest.files["model.onnx"].sha256}


def _joules(row: dict[str, Any]) -> float | None:
    joules: float | None = row.get("batches", {}).get("1", {}).get("joules")
    return joules


def _ratios(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> dict[str, dict[str, float | None]]:
    """Return how many times better each format is here than in the other bundle; above 1 is better."""
    others = {row["format"]: row for row in theirs if row["status"] == "measured"}
    ratios = {}
    for row in ours:
        other = others.get(row["format"])
        if row["status"] != "measured" or other is None:
            continue
        both = row["latency_ms"] and other["latency_ms"]
        memory = row["memory_bytes"] and other["memory_bytes"]
        ratios[row["format"]] = {
            "latency": other["latency_ms"]["p50"] / row["latency_ms"]["p50"] if both else None,
            "throughput": row["throughput"]["images_per_s"] / other["throughput"]["images_per_s"],
            "memory": other["memory_bytes"] / row["memory_bytes"] if memory else None,
            "bytes": other["bytes"] / row["bytes"],
        }
    return ratios


def _write(result: dict[str, Any], folder: str) -> list[str]:
    """Write the figures and their chart, if a folder was asked for."""
    if not folder:
        log.info("nothing was written; --out FOLDER keeps bench.json and bench.png")
        return []
    from sonoforge.runtime.atomic import write_bytes, write_json  # noqa: PLC0415 - only with --out
    from sonoforge.runtime.bench.chart import draw  # noqa: PLC0415

    paths = [Path(folder) / "bench.json", Path(folder) / "bench.png"]
    write_json(paths[0], result)
    write_bytes(paths[1], draw(result))
    log.info("written: %s", ", ".join(map(str, paths)))
    return [str(path) for path in paths]


def _print_head(result: dict[str, Any]) -> None:
    known = result["machine"]["instructions"]
    log.info("bundle    %s: %s %s", result["bundle"], result["model"]["name"], result["model"]["version"])
    log.info(
        "machine   %s, %d cores, %s",
        result["machine"]["cpu"],
        result["machine"]["cores"],
        "instructions not readable" if known is None else ", ".join(known),
    )
    log.info(
        "timing    threads %d, batches %s, %g s a file in %d rounds",
        result["threads"],
        ", ".join(map(str, result["batches"])),
        result["seconds"],
        result["rounds"],
    )


# A process with a core of its own keeps it busy while it computes.
_BUSY = 0.9
_COLUMNS = (
    *("format", "size MB", "load ms", "first ms", "p50 ms", "p95 ms", "p99 ms", "images/s (batch)", "memory MB", "mJ"),
    *("logits off by", "labels"),
)


def _print(result: dict[str, Any]) -> None:
    for title, rows in (("", result["files"]), ("the other bundle", result.get("against", {}).get("files", []))):
        if title and rows:
            log.info("\n%s: %s", title, result["against"]["bundle"])
        table = [_COLUMNS, *(_cells(row, result["golden_images"]) for row in rows if row["status"] == "measured")]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        if len(table) > 1:
            log.info("")
            for cells in table:
                log.info("%s", f"{cells[0]:<{widths[0]}}  " + "  ".join(map(str.rjust, cells[1:], widths[1:])))
        for row in rows:
            if row["status"] != "measured":
                log.warning("%s: %s: %s", row["format"], row["status"], row["reason"])
            for batch, values in row.get("batches", {}).items():
                if "error" in values:
                    log.info("%s: not at batch %s: %s", row["format"], batch, values["error"])
    if "against" in result:
        _print_ratios(result)
    programs = sorted({row["program"] for row in result["files"] if row["status"] == "measured"})
    log.info("\nrun by    %s", "; ".join(programs) or "nothing")
    log.info("load      from the program's import until the file can answer; the smallest of the rounds")
    log.info("memory    what the process of a file needs beyond one without a model, its program included")
    if result["energy"] != "read":
        log.info("energy    not readable on this machine")
    busy = [row["batches"]["1"]["cores"] for row in result["files"] if row.get("latency_ms") and _on_cpu(row)]
    if busy and np.mean(busy) < _BUSY:
        log.warning("busy      other work left %.2f of a core to a file: repeat on an idle machine", np.mean(busy))


def _print_ratios(result: dict[str, Any]) -> None:
    others = {row["format"] for row in result["against"]["files"]}
    for row in result["files"]:
        if row["format"] not in others:
            log.warning("%s: the other bundle has no such file: nothing to compare with", row["format"])
    for name, ratios in result["ratios"].items():
        said = ", ".join(f"{key} {value:.2f}" for key, value in ratios.items() if value is not None)
        log.info("%s: times better than the other bundle: %s", name, said)


def _on_cpu(row: dict[str, Any]) -> bool:
    return not row["format"].startswith("tensorrt")


def _cells(row: dict[str, Any], images: int) -> tuple[str, ...]:
    latency = row["latency_ms"] or dict.fromkeys(("p50", "p95", "p99"), np.nan)
    memory, joules = row["memory_bytes"], _joules(row)
    return (
        row["format"],
        f"{row['bytes'] / 1e6:.2f}",
        f"{row['load_ms']:.0f}",
        f"{row['first_ms']:.1f}",
        *(f"{latency[key]:.2f}" for key in ("p50", "p95", "p99")),
        f"{row['throughput']['images_per_s']:.0f} ({row['throughput']['batch']})",
        "-" if memory is None else f"{memory / 1e6:.0f}",
        "-" if joules is None else f"{1e3 * joules:.1f}",
        f"{row['max_abs_logits']:.1g}",
        f"{row['labels_equal']}/{images}",
    )
