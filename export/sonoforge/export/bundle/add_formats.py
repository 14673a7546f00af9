"""Add model files to a bundle: write, run by its own program, judge, and only then let it in."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sonoforge.export.bundle.model_card import replace_files
from sonoforge.export.bundle.provenance import versions
from sonoforge.export.formats.onnx_graph import OUTPUTS
from sonoforge.export.formats.source import Source
from sonoforge.export.formats.table import FORMATS, Format
from sonoforge.export.gate.images import GateImages
from sonoforge.export.gate.judged_file import without_folders, write_and_judge
from sonoforge.export.gate.parity import run_torch
from sonoforge.export.gate.tolerance import Answers, compare, problems
from sonoforge.runtime import atomic
from sonoforge.runtime.bundle.reader import open_bundle
from sonoforge.runtime.errors import GateError
from sonoforge.runtime.images.decoding import read_image
from sonoforge.runtime.inference.model_files import open_file, run_in_subprocess

log = logging.getLogger(__name__)

_PORTION = 32  # images that torch answers at a time


class _Exam(NamedTuple):
    """What every file is judged on: images, the same normalised (N, 3, S, S), the network's answers, class names."""

    images: GateImages
    inputs: NDArray[np.float32]
    reference: Answers
    classes: tuple[str, ...]


def cannot_write(form: Format) -> str:
    """Say what is not installed that a format needs to be written; nothing if all is there."""
    absent = [package for package in form.packages if importlib.util.find_spec(package) is None]
    install = f"'sonoforge[{form.extra}]'" if form.extra else " ".join(absent)
    return f"{', '.join(absent)} is not installed; pip install {install}" if absent else ""


def add_formats(
    folder: Path, source: Source, images: GateImages, names: Sequence[str], asked: Sequence[str]
) -> list[dict[str, Any]]:
    """Write the files of these formats into a bundle; one that fails its gate is left out, the others go in.

    Args:
        folder: A bundle, not yet where others see it.
        source: Its network.
        images: To judge the files on.
        names: Rows of `FORMATS`.
        asked: Those that were asked for by name: they go in even if nothing on this machine can check them.

    Returns:
        For each name: ``format``, ``file``, ``precision``, ``runs_on``, ``status`` (``passed``, ``failed``, ``not
        checked``: nothing on this machine runs it, or ``not written``), ``reason`` where there is one, ``bytes``, and
        the figures of `gate.compare`.  The manifest holds the same less what may tell of the machine or of a patient:
        names of images, and folders in a reason.

    Raises:
        GateError: The bundle's ``model.onnx`` itself does not answer as the network does.
        SonoforgeError: A file cannot be written to disk.
    """
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    exam = _prepare(source, images, tuple(manifest["classes"]))
    manifest["parity"]["formats"] = _known_rows(manifest)
    calibration = _describe_calibration(source, images)
    rows = []
    for name in names:
        row = _add(name, folder, source, exam, name in asked)
        if row["precision"] != "fp32":
            row["calibration"] = calibration
        log.log(logging.INFO if row["status"] == "passed" else logging.WARNING, "%s", describe(row))
        if name == "onnx" and row["status"] == "failed":
            raise GateError(f"model.onnx: {row['reason']}; no bundle was written")
        _enter(manifest, folder, row)
        rows.append(row)
    card = replace_files((folder / "MODEL_CARD.md").read_text(encoding="utf-8"), manifest).encode()
    atomic.write_bytes(folder / "MODEL_CARD.md", card)
    manifest["files"]["MODEL_CARD.md"] = _entry(folder / "MODEL_CARD.md")
    atomic.write_json(folder / "manifest.json", manifest)
    written = open_bundle(folder)  # the reader must accept what was written
    for name in written.manifest.files:
        written.read(name)
    return rows


def _prepare(source: Source, images: GateImages, classes: tuple[str, ...]) -> _Exam:
    """Normalise the images once for all formats, and let the network itself answer."""
    inputs = source.preprocessing.normalise(images.pixels)
    parts = [run_torch(source.graph, inputs[i : i + _PORTION]) for i in range(0, len(inputs), _PORTION)]
    reference = {name: np.concatenate([part[name] for part in parts]) for name in OUTPUTS}
    return _Exam(images, inputs, reference, classes)


def _known_rows(manifest: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the figures of an earlier export; readers of bundles check nothing in them, so what is odd is left out."""
    found = manifest["parity"].get("formats")
    rows = found.items() if isinstance(found, dict) else ()
    texts, numbers = ("format", "file", "precision", "status", "runs_on"), ("bytes", "max_abs", "mean_abs")
    return {
        name: row
        for name, row in rows
        if isinstance(row, dict)
        and name == row.get("format")
        and all(isinstance(row.get(key), str) for key in texts)
        and all(isinstance(row.get(key, 0), int | float) for key in numbers)
        and isinstance(row.get("sensitivity_change", {}), dict)
    }


def _describe_calibration(source: Source, images: GateImages) -> dict[str, int]:
    """Count the images that ranges were measured on, and those of them that files are judged on, too."""
    judged = {hashlib.sha256(pixels.tobytes()).digest() for pixels in images.pixels}
    among = sum(hashlib.sha256(pixels.tobytes()).digest() in judged for pixels in source.calibration)
    return {"images": len(source.calibration), "among_those_checked": among}


def _add(name: str, folder: Path, source: Source, exam: _Exam, asked: bool) -> dict[str, Any]:
    """Write the files of one format into the folder and judge them; those that may not stay are removed."""
    form = FORMATS[name]
    write = form.write

    def judge(place: Path) -> tuple[dict[str, Any], list[str]]:
        figures = compare(_answers(form, name, place, exam), exam.reference, exam.images, exam.classes)
        return figures, problems(figures, form.tolerance)

    return write_and_judge(
        {"format": name, "file": form.file, "precision": form.precision, "runs_on": form.runs_on},
        folder,
        None if write is None else lambda: write(source),
        judge,
        absent=cannot_write(form),
        asked=asked,
        about={"tolerance": form.tolerance._asdict(), "made_with": versions()},
    )


def _answers(form: Format, name: str, place: Path, exam: _Exam) -> dict[str, NDArray[np.float32]]:
    """Let a file answer on all images, in a process of its own; images of any size, in this one, one at a time."""
    if form.whole_images:
        run = open_file(name, place)
        parts = [run([_as_pixels(file)]) for file in exam.images.files]
        outputs = [np.concatenate(values) for values in zip(*parts, strict=True)]
    else:
        outputs = run_in_subprocess(name, place, [exam.inputs], batch=form.batch)
    if len(outputs) != len(OUTPUTS):
        raise GateError(f"found {len(outputs)} outputs, expected {', '.join(OUTPUTS)}")
    return dict(zip(OUTPUTS, outputs, strict=True))


def _as_pixels(file: Path) -> NDArray[np.uint8]:
    pixels = np.asarray(read_image(file))
    return pixels[None, :, :, None] if pixels.ndim == 2 else pixels[None]


def _enter(manifest: dict[str, Any], folder: Path, row: dict[str, Any]) -> None:
    """Enter a format's files and figures; those of an earlier export go, unless this machine could not try."""
    form = FORMATS[row["format"]]
    files, figures = manifest["files"], manifest["parity"]["formats"]
    if row["status"] == "not written" and row["format"] in figures:
        return
    kept = {key: value for key, value in row.items() if key != "worst"}
    if "reason" in kept:
        kept["reason"] = without_folders(kept["reason"])
    figures[row["format"]] = kept
    if form.write is None:
        return
    for file in (form.file, f"{form.file}.json"):
        files.pop(file, None)
        if row["status"] not in ("passed", "not checked"):
            (folder / file).unlink(missing_ok=True)
        elif (folder / file).is_file():
            files[file] = _entry(folder / file)
    if form.file in files:
        files[form.file] |= {"precision": form.precision, "format": row["format"]}


def _entry(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    return {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}


def describe(row: dict[str, Any]) -> str:
    """One line of the screen's table."""
    size = f"{row['bytes'] / 1e6:.2f} MB" if "bytes" in row else "-"
    line = f"{row['format']:<20} {row['precision']:<5} {size:>9}  "
    if "max_abs" in row:
        line += f"max {row['max_abs']:.1e} mean {row['mean_abs']:.1e}  labels {row['labels_equal']}/{row['count']}  "
    line += f"{row['status']}: {row['reason']}" if "reason" in row else str(row["status"])
    return line + (f"; the worst: {row['worst']}" if row["status"] == "failed" and "worst" in row else "")
