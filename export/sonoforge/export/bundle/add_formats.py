"""Add model files to a bundle: each is written, run and compared with the network, and removed if it fails."""

import json
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sonoforge.export.bundle.card import replace_files
from sonoforge.export.bundle.folder import FormatRow, ManifestJson, file_entry, versions, write_manifest
from sonoforge.export.formats.table import FORMATS
from sonoforge.runtime import atomic
from sonoforge.runtime.bundle.manifest import Manifest
from sonoforge.runtime.bundle.reader import open_bundle
from sonoforge.runtime.errors import GateError, SonoforgeError
from sonoforge.runtime.inference import runners

log = logging.getLogger(__name__)

_PATH = re.compile(r"(?:[A-Za-z]:)?(?:[\\/][^\\/\s:'\"()]+)+[\\/]?")


def add_formats(
    folder: Path, exported: Any, names: Sequence[str], formats: Sequence[str], unsuitable: Mapping[str, str] = {}
) -> list[FormatRow]:
    """Write the formats ``names`` into a bundle under its temporary name, leaving out files that fail the gate.

    ``exported``, an `ExportedClassifier` or `ExportedGenerator`, provides the writers' ``source``, the tolerance
    ``allowed`` to a format, and a ``check`` of its file.  A format that the user named explicitly, in ``formats``, goes
    in even if nothing on this machine can check it; ``unsuitable`` maps formats that this network cannot have to the
    reason. Return a row for each name.  The manifest holds the same rows without image names and folders, which may
    identify a patient or the machine.  Raise `GateError` if the bundle's ONNX file does not answer as the network does.
    """
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    manifest["parity"]["formats"] = _known_rows(manifest)
    rows = []
    for name in names:
        row = _write_and_judge(exported, name, folder, name in formats, unsuitable.get(name, ""))
        log.log(logging.INFO if row["status"] == "passed" else logging.WARNING, "%s", describe(row))
        if name == "onnx" and row["status"] == "failed":
            raise GateError(f"{row['file']}: {row['reason']}; no bundle was written")
        _enter(manifest, folder, row)
        rows.append(row)
    card = replace_files((folder / "MODEL_CARD.md").read_text(encoding="utf-8"), manifest).encode()
    atomic.write_bytes(folder / "MODEL_CARD.md", card)
    manifest["files"]["MODEL_CARD.md"] = file_entry(card)
    write_manifest(folder, manifest)
    written = open_bundle(folder, Manifest)  # the reader must accept what was written
    for name in written.manifest.files:
        written.read(name)
    return rows


def _write_and_judge(exported: Any, name: str, folder: Path, by_name: bool, unsuitable: str) -> FormatRow:
    """Write and judge the files of one format; remove them if they fail.

    A file that nothing on this machine can run is written only if its format was named explicitly.
    """
    form = FORMATS[name]
    row: FormatRow = {
        "format": name,
        "file": exported.source.stem + form.suffix,
        "precision": form.precision,
        "runs_on": form.runs_on,
    }
    absent, unchecked = unsuitable or form.missing(), runners.missing(name)
    if unchecked and not by_name and not absent:
        absent = f"{unchecked}; name the format {name} to write it unchecked"
    if absent:
        return {**row, "status": "not written", "reason": absent}
    contents: dict[str, bytes] = {}
    try:
        made = form.write(exported.source)
        contents = made if isinstance(made, dict) else {row["file"]: made}
        for file, data in contents.items():
            atomic.write_bytes(folder / file, data)
        row["bytes"] = sum(map(len, contents.values()))
        row.update({**exported.allowed(name), "made_with": versions()})
        if unchecked:
            return {**row, "status": "not checked", "reason": unchecked}
        figures, problems = exported.check(name, folder / row["file"])
        row.update(figures)
    except Exception as error:  # exporters raise anything; the other formats are still written
        kind = "" if isinstance(error, SonoforgeError) else f"{type(error).__name__}: "
        problems = [kind + " ".join(str(error).split()).replace(f"{folder}/", "")[:300]]
    if not problems:
        return {**row, "status": "passed"}
    for file in contents:
        (folder / file).unlink(missing_ok=True)
    return {**row, "status": "failed", "reason": "; ".join(problems)}


def _known_rows(manifest: ManifestJson) -> dict[str, Any]:
    """Return the figures of an earlier export; bundle readers do not check them, so malformed rows are dropped here."""
    found = manifest["parity"].get("formats")
    texts, numbers = ("format", "file", "precision", "status", "runs_on"), ("bytes", "max_abs", "mean_abs")
    return {
        name: row
        for name, row in (found.items() if isinstance(found, dict) else ())
        if isinstance(row, dict)
        and name == row.get("format")
        and all(isinstance(row.get(key), str) for key in texts)
        and all(isinstance(row.get(key, 0), int | float) for key in numbers)
        and isinstance(row.get("sensitivity_change", {}), dict)
    }


def _enter(manifest: ManifestJson, folder: Path, row: FormatRow) -> None:
    """Replace an earlier export's files and figures of a format, unless this machine could not try it."""
    files, figures = manifest["files"], manifest["parity"]["formats"]
    if row["status"] == "not written" and row["format"] in figures:
        return
    kept: dict[str, Any] = {key: value for key, value in row.items() if key != "worst"}
    if "reason" in kept:
        kept["reason"] = _PATH.sub("...", kept["reason"])
    figures[row["format"]] = kept
    for file in (row["file"], f"{row['file']}.json"):
        files.pop(file, None)
        if row["status"] not in ("passed", "not checked"):
            (folder / file).unlink(missing_ok=True)
        elif (folder / file).is_file():
            files[file] = file_entry((folder / file).read_bytes())
    if row["file"] in files:
        files[row["file"]] |= {"precision": row["precision"], "format": row["format"]}


def describe(row: FormatRow) -> str:
    """Return the line that the screen shows for a format."""
    size = f"{row['bytes'] / 1e6:.2f} MB" if "bytes" in row else "-"
    line = f"{row['format']:<20} {row['precision']:<5} {size:>9}  "
    if "max_abs" in row:
        line += f"max {row['max_abs']:.1e} "
        if "mean_abs" in row:
            line += f"mean {row['mean_abs']:.1e}  labels {row['labels_equal']}/{row['count']}  "
        else:
            line += f"(allowed {row['tolerance']:g})  "
    line += f"{row['status']}: {row['reason']}" if "reason" in row else row["status"]
    return line + (f"; the worst: {row['worst']}" if row["status"] == "failed" and "worst" in row else "")
