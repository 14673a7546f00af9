"""``sonoforge bench``: speed, memory and size of each model file of a bundle, on this machine.

Every file that can run here is measured in processes of its own, in short rounds that take turns, so that other work
on the machine slows all alike.  Its answers to the golden images are checked first: a float32 file that answers wrongly
is refused; for the others the difference is reported.

The files that are programs (TorchScript, ExecuTorch, TensorRT) can do on this machine whatever their author wrote, such
as write files; LiteRT and OpenVINO files are data that nothing checks first.  They are ``not run`` unless ``--trust``
says that the author is trusted; ONNX and ORT files always are.

JSON: ``bundle``, ``model``, ``machine`` ({"cpu", "instructions", "cores", "platform", "python"}), ``threads``,
``batches``, ``seconds``, ``rounds``, ``golden_images`` (count), ``files``: for each ``format``, ``file``,
``precision``, ``bytes``, ``status`` (``measured``, ``not run``, ``cannot run here`` or ``failed``) and either the
``reason`` or the figures of `sonoforge.runtime.bench.measure.Figures`; ``energy`` (``read`` or ``not readable``); with
``--against``, ``against`` ({"bundle", "model", "files"}) and ``ratios`` ({format: {"latency", "throughput", "memory",
"bytes"}}): how many times better this bundle is than the other, in the formats measured in both; ``written`` (paths).

Exit code 0; 1 when a file failed, or none could be measured; 2 when there is no bundle.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from sonoforge.runtime import machine
from sonoforge.runtime.atomic import temporary_folder
from sonoforge.runtime.bench import report as bench_report
from sonoforge.runtime.bench.measure import Figures, Inputs, ModelFile, Plan, Ratios, Report, Row, joules, measure
from sonoforge.runtime.bundle.classification import ClassifierManifest
from sonoforge.runtime.bundle.reader import Bundle, companions, open_bundle
from sonoforge.runtime.cli.options import Outcome
from sonoforge.runtime.errors import SonoforgeError, did_you_mean
from sonoforge.runtime.images.decoding import read_image
from sonoforge.runtime.inference.runners import NOT_TRUSTED, missing, needs_trust
from sonoforge.runtime.verbs.settings import BenchConfig

log = logging.getLogger(__name__)


def main(config: BenchConfig) -> Outcome:
    """Measure the files of one or two bundles; see the top of this module for the result and the exit code."""
    sides = {"": open_bundle(config.bundle or None)}
    if config.against:
        sides["against"] = open_bundle(config.against)
    plan = Plan(config.threads, tuple(sorted(set(config.batches))), config.seconds, config.rounds)
    _check_formats(sides[""], config.formats)
    report: Report = {
        "bundle": config.bundle or "shipped",
        "model": sides[""].manifest.identity,
        "machine": machine.describe(),
        "threads": plan.threads,
        "batches": plan.batches,
        "seconds": plan.seconds,
        "rounds": plan.rounds,
    }
    bench_report.print_head(report)
    inputs = {side: _inputs(bundle, config.image) for side, bundle in sides.items()}
    rows = _measure(sides, inputs, config, plan)
    report["golden_images"] = len(inputs[""].logits)
    report["files"] = rows[""]
    report["energy"] = "read" if any(joules(row) is not None for row in rows[""]) else "not readable"
    if config.against:
        model = sides["against"].manifest.identity
        report["against"] = {"bundle": config.against, "model": model, "files": rows["against"]}
        report["ratios"] = _ratios(rows[""], rows["against"])
    bench_report.print_figures(report)
    written = _write(report, config.out)
    statuses = [row["status"] for side in rows.values() for row in side]
    bad = "failed" in statuses or "measured" not in statuses
    again = f"sonoforge bench{f' {config.bundle!r}' if config.bundle else ''} --out speed/"
    next_command = "sonoforge doctor" if bad else "" if config.out else again
    return Outcome({**report, "written": written}, next_command, 1 if bad else 0)


def _check_formats(bundle: Bundle[ClassifierManifest], formats: tuple[str, ...]) -> None:
    known = [entry.format for entry in bundle.manifest.files.values() if entry.format]
    for name in formats:
        if name not in known:
            hint = did_you_mean(name, known)
            raise SonoforgeError(f"{bundle.path}: found no format {name!r}, expected one of {', '.join(known)}{hint}")


def _measure(
    sides: Mapping[str, Bundle[ClassifierManifest]], inputs: Mapping[str, Inputs], config: BenchConfig, plan: Plan
) -> dict[str, list[Row]]:
    """Return a row for each model file of each side."""
    rows = {side: _rows(bundle, config.formats, config.trust) for side, bundle in sides.items()}
    with temporary_folder() as folder:
        files = []
        for side, bundle in sides.items():
            (folder / f"{side}files").mkdir()
            for row in rows[side]:
                if row["status"] == "measured":
                    path = bundle.extract(row["file"], folder / f"{side}files")
                    files.append(ModelFile(side, row["format"], row["precision"], path))
        results = iter(measure(files, inputs, plan, folder, lambda line: log.info("%s", line)) if files else [])
    return {
        side: [_with_result(row, next(results)) if row["status"] == "measured" else row for row in rows[side]]
        for side in sides
    }


def _with_result(row: Row, result: Figures | str) -> Row:
    if isinstance(result, str):
        return {**row, "status": "failed", "reason": result}
    return {**row, **result}


def _rows(bundle: Bundle[ClassifierManifest], formats: tuple[str, ...], trust: bool) -> list[Row]:
    """Return a row without figures for each model file: whether it may and can run on this machine."""
    rows: list[Row] = []
    for name, entry in bundle.manifest.files.items():
        if not entry.format or (formats and entry.format not in formats):
            continue
        size = sum(
            bundle.manifest.files[file].bytes for file in (name, *companions(name)) if file in bundle.manifest.files
        )
        row = Row(format=entry.format, file=name, precision=entry.precision, bytes=size, status="measured")
        if needs_trust(entry.format) and not trust:
            row |= {"status": "not run", "reason": NOT_TRUSTED}
        elif reason := missing(entry.format).removeprefix(f"{entry.format}: "):
            row |= {"status": "cannot run here", "reason": reason}
        rows.append(row)
    return rows


def _inputs(bundle: Bundle[ClassifierManifest], image: str) -> Inputs:
    golden, prepare = bundle.golden(), bundle.manifest.preprocessing
    pixels = prepare.resize(read_image(image))[None] if image else golden["pixels"]
    tensors = (prepare.normalise(golden["pixels"]), prepare.normalise(pixels))
    return Inputs((golden["pixels"], pixels), tensors, golden["logits"])


def _ratios(ours: Sequence[Row], theirs: Sequence[Row]) -> dict[str, Ratios]:
    """Return how many times better each format is here than in the other bundle; above 1 is better."""
    others = {row["format"]: row for row in theirs if row["status"] == "measured"}
    ratios: dict[str, Ratios] = {}
    for row in ours:
        other = others.get(row["format"])
        if row["status"] != "measured" or other is None:
            continue
        latency, other_latency = row["latency_ms"], other["latency_ms"]
        memory, other_memory = row["memory_bytes"], other["memory_bytes"]
        ratios[row["format"]] = {
            "latency": other_latency["p50"] / latency["p50"] if latency and other_latency else None,
            "throughput": row["throughput"]["images_per_s"] / other["throughput"]["images_per_s"],
            "memory": other_memory / memory if memory and other_memory else None,
            "bytes": other["bytes"] / row["bytes"],
        }
    return ratios


def _write(report: Report, folder: str) -> list[str]:
    """Write the figures and their chart, if a folder was given."""
    if not folder:
        log.info("nothing was written; --out FOLDER keeps bench.json and bench.png")
        return []
    from sonoforge.runtime.atomic import write_bytes, write_json  # noqa: PLC0415 - only with --out

    paths = [Path(folder) / "bench.json", Path(folder) / "bench.png"]
    write_json(paths[0], report)
    write_bytes(paths[1], bench_report.draw(report))
    log.info("written: %s", ", ".join(map(str, paths)))
    return [str(path) for path in paths]
