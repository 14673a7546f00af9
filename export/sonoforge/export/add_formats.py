"""Add model files to a bundle: write, run by its own program, judge, and only then let it in."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sonoforge.export.bundle_writer import replacing_folder
from sonoforge.export.formats import FORMATS, Format
from sonoforge.export.gate import Answers, compare, problems
from sonoforge.export.gate_images import GateImages
from sonoforge.export.model_card import replace_files
from sonoforge.export.onnx_graph import OUTPUTS
from sonoforge.export.provenance import provenance
from sonoforge.export.source import Source
from sonoforge.runtime import atomic
from sonoforge.runtime.bundle import Bundle, open_bundle
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.imagefile import read_image
from sonoforge.runtime.model_files import answer_apart, missing, open_file

log = logging.getLogger(__name__)

_PORTION = 32  # images that torch answers at a time


def cannot_write(form: Format) -> str:
    """Say what is not installed that a format needs to be written; nothing if all is there."""
    absent = [package for package in form.packages if importlib.util.find_spec(package) is None]
    return f"{', '.join(absent)} is not installed; pip install 'sonoforge[{form.extra}]'" if absent else ""


def reference_answers(source: Source, pixels: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
    """Let the network itself answer: each output (N, ...)."""
    parts: list[tuple[torch.Tensor, ...]] = []
    with torch.inference_mode():
        for begin in range(0, len(pixels), _PORTION):
            inputs = source.preprocessing.normalise(pixels[begin : begin + _PORTION])
            parts.append(source.graph(torch.from_numpy(inputs)))
    return {name: torch.cat(values).numpy() for name, values in zip(OUTPUTS, zip(*parts, strict=True), strict=True)}


def add_formats(
    bundle: Bundle, target: Path, source: Source, images: GateImages, names: Sequence[str]
) -> list[dict[str, Any]]:
    """Copy a bundle with the files of these formats; one that fails its gate is left out, the others go in.

    Args:
        bundle: A bundle; its ``model.onnx`` is judged, too, but it stays whatever comes of it.
        target: Folder of the new bundle; may be the old one's.  It is replaced at the very end.
        source: The bundle's network.
        images: To judge the files on.
        names: Rows of `FORMATS`.

    Returns:
        For each name: ``format``, ``file``, ``precision``, ``status`` (``passed``, ``failed``, ``not checked``:
        written, but nothing on this machine runs it, or ``not written``), ``reason`` where there is one, ``bytes``,
        and the figures of `gate.compare`.

    Raises:
        SonoforgeError: The bundle is damaged, or a file cannot be written to disk.
    """
    reference = reference_answers(source, images.pixels)
    manifest = json.loads(json.dumps(bundle.manifest.raw))
    rows = []
    with replacing_folder(target) as folder:
        for name in manifest["files"]:
            atomic.write_bytes(folder / name, bundle.read(name))
        for name in names:
            row, contents = _make(name, folder, source, images, reference, bundle.classes)
            _enter(manifest, folder, name, row, contents)
            log.info("%s", describe(row))
            rows.append(row)
        card = replace_files(bundle.read("MODEL_CARD.md").decode(), manifest).encode()
        atomic.write_bytes(folder / "MODEL_CARD.md", card)
        manifest["files"]["MODEL_CARD.md"] = _entry(card)
        manifest["provenance"] = provenance(source.graph)
        atomic.write_json(folder / "manifest.json", manifest)
        written = open_bundle(folder)  # the reader must accept what was written
        for name in written.manifest.files:
            written.read(name)
    return rows


def _make(
    name: str, folder: Path, source: Source, images: GateImages, reference: Answers, classes: tuple[str, ...]
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Write the files of one format into the new bundle and judge them; those that may not stay are removed."""
    form = FORMATS[name]
    row: dict[str, Any] = {"format": name, "file": form.file, "precision": form.precision}
    absent = cannot_write(form)
    if absent:
        return {**row, "status": "not written", "reason": absent}, {}
    contents = {form.file: source.onnx}
    try:
        if form.write is not None:
            contents = form.write(source)
            for file, data in contents.items():
                atomic.write_bytes(folder / file, data)
        row |= {"bytes": len(contents[form.file]), "tolerance": form.tolerance._asdict()}
        absent = missing(name)
        if absent:
            return {**row, "status": "not checked", "reason": absent}, contents
        row |= compare(_answers(form, name, folder, source, images), reference, images, classes)
        found = problems(row, form.tolerance)
    except SonoforgeError as error:
        found = [" ".join(str(error).split()).replace(f"{folder}/", "")]
    if not found:
        return {**row, "status": "passed"}, contents
    if form.write is not None:
        for file in contents:
            (folder / file).unlink(missing_ok=True)
    return {**row, "status": "failed", "reason": "; ".join(found)}, {}


def _answers(
    form: Format, name: str, folder: Path, source: Source, images: GateImages
) -> dict[str, NDArray[np.float32]]:
    """Let a file answer on all images, in a process of its own."""
    if form.whole_images:  # any size, so one at a time
        run = open_file(name, folder / form.file)
        parts = [run([_as_pixels(file)]) for file in images.files]
        outputs = [np.concatenate(values) for values in zip(*parts, strict=True)]
    else:
        inputs = source.preprocessing.normalise(images.pixels)
        outputs = answer_apart(name, folder / form.file, [inputs], batch=form.batch)
    return dict(zip(OUTPUTS, outputs, strict=True))


def _as_pixels(file: Path) -> NDArray[np.uint8]:
    pixels = np.asarray(read_image(file))
    return pixels[None, :, :, None] if pixels.ndim == 2 else pixels[None]


def _enter(manifest: dict[str, Any], folder: Path, name: str, row: dict[str, Any], contents: dict[str, bytes]) -> None:
    """Enter files and figures; files of an earlier export of this format go."""
    form = FORMATS[name]
    manifest["parity"].setdefault("formats", {})[name] = row
    if form.write is None:
        return
    for file in (form.file, f"{form.file}.json"):
        if manifest["files"].pop(file, None) and file not in contents:
            (folder / file).unlink(missing_ok=True)
    for file, data in contents.items():
        manifest["files"][file] = _entry(data)
    if contents:
        manifest["files"][form.file] |= {"precision": form.precision, "format": name}


def _entry(data: bytes) -> dict[str, Any]:
    return {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}


def describe(row: dict[str, Any]) -> str:
    """One line of the screen's table."""
    size = f"{row['bytes'] / 1e6:.2f} MB" if "bytes" in row else "-"
    line = f"{row['format']:<17} {row['precision']:<5} {size:>9}  "
    if "max_abs" in row:
        line += f"max {row['max_abs']:.1e} mean {row['mean_abs']:.1e}  labels {row['labels_equal']}/{row['count']}  "
    return f"{line}{row['status']}" + (f": {row['reason']}" if "reason" in row else "")
