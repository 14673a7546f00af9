"""A bundle on disk, format version 1: a folder written whole or not at all, with its manifest; or one ``.zip``."""

import contextlib
import datetime
import hashlib
import importlib.metadata
import io
import json
import logging
import os
import platform
import time
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sonoforge.export.gate.tolerance import ManifestJson
from sonoforge.runtime import atomic
from sonoforge.runtime.bundle.manifest import FORMAT_VERSION, Manifest, with_digest
from sonoforge.runtime.bundle.reader import manifest_kind, open_bundle
from sonoforge.runtime.errors import SonoforgeError

log = logging.getLogger(__name__)

_PACKAGES = (
    *("sonoforge", "torch", "onnx", "onnxscript", "onnxruntime", "numpy", "pillow", "safetensors"),
    *("executorch", "torchao", "litert-torch", "openvino", "tensorrt_rtx", "tensorrt"),
)
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date that a zip can hold
_MODE = 0o644 << 16


def refuse_other_folder(folder: Path, task: str) -> None:
    """Refuse to replace what is not a bundle of this task, or what holds files of somebody's own."""
    if not folder.exists():
        return
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        known, found = {"manifest.json", *manifest["files"]}, manifest_kind(manifest["task"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SonoforgeError(f"{folder}: exists but is not a bundle; choose another folder") from error
    if found.task != task:
        raise SonoforgeError(
            f"{folder}: found {found.owner}'s bundle, expected {manifest_kind(task).owner}'s or none; choose another "
            "folder"
        )
    others = sorted(item.name for item in folder.iterdir() if item.name not in known)
    if others:
        raise SonoforgeError(
            f"{folder}: found {others[0]}, which is not part of the bundle and would be lost; move it, or choose "
            "another folder"
        )


@contextlib.contextmanager
def replacing_bundle(folder: Path, task: str) -> Iterator[Path]:
    """Fill a folder under a temporary name; it becomes the bundle at the end, or not at all.

    An existing bundle of the same task is replaced, and stays unchanged if an error is raised.

    Raises:
        SonoforgeError: ``folder`` holds something that is not a bundle of this task, or cannot be written.
    """
    refuse_other_folder(folder, task)
    with atomic.replacing_folder(folder) as fresh:
        yield fresh
        gone = ", ".join(sorted(_formats(folder) - _formats(fresh)))
        if gone:
            log.warning("%s: the new bundle does without %s, which the old one had", folder, gone)


def _formats(folder: Path) -> set[str]:
    if not folder.exists():
        return set()
    files = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["files"]
    return {entry["format"] for entry in files.values() if "format" in entry}


def write_bundle(folder: Path, task: str, about: Mapping[str, Any], contents: Mapping[str, bytes]) -> None:
    """Write the files, the ONNX file first, and the manifest into an empty folder; `add_formats` adds formats.

    ``about`` has the manifest's other keys, ``name``, ``version`` and ``intended_use`` among them.
    """
    files = {name: file_entry(data) for name, data in contents.items()}
    files[next(iter(contents))] |= {"precision": "fp32", "format": "onnx"}
    for name, data in contents.items():
        atomic.write_bytes(folder / name, data)
    head = {"format_version": FORMAT_VERSION, "task": task, "created": creation_time()}
    # As in a software bill of materials; machine, user and folders stay out.
    provenance = {
        "packages": _packages(),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
    }
    write_manifest(folder, {**head, **about, "files": files, "provenance": provenance})


def write_manifest(folder: Path, manifest: ManifestJson) -> None:
    """Write a bundle's manifest with its digest, a value a line, without indentation, which would be a third of it."""
    atomic.write_json(folder / "manifest.json", with_digest(atomic.plain(manifest)), indent=0)


def file_entry(data: bytes) -> dict[str, str | int]:
    """Return a file's entry in the manifest."""
    return {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}


def npz(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Return arrays as the bytes of an ``.npz`` file."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def creation_time() -> str:
    """Return now, or the time that SOURCE_DATE_EPOCH gives (seconds since 1970) for reproducible builds.

    Raises:
        SonoforgeError: SOURCE_DATE_EPOCH is not a whole number.
    """
    given = os.environ.get("SOURCE_DATE_EPOCH")
    if given and not given.isdecimal():
        raise SonoforgeError(f"SOURCE_DATE_EPOCH: found {given!r}, expected seconds since 1970")
    seconds = float(given) if given else time.time()
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).isoformat(timespec="seconds")


def _packages() -> list[dict[str, str]]:
    """Return ``name``, ``version``, ``licence`` and ``purl`` (package URL) of each package that is installed."""
    packages = []
    for name in _PACKAGES:
        try:
            about: Any = importlib.metadata.metadata(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        licence = about.get("License-Expression") or about.get("License") or "not stated"
        packages.append(
            {
                "name": name,
                "version": about["Version"],
                "licence": licence.splitlines()[0][:80],
                "purl": f"pkg:pypi/{name.replace('_', '-')}@{about['Version']}",
            }
        )
    return packages


def versions() -> dict[str, str]:
    """Return the version of each of those packages: what a single file was made with."""
    return {entry["name"]: entry["version"] for entry in _packages()}


def write_zip(folder: Path, target: Path) -> int:
    """Pack the manifest and the files that it lists, each checked by its hash; return its size in bytes.

    The same bytes for the same files, whenever and wherever: names are sorted, dates and permissions fixed, and nothing
    is compressed: weights hardly shrink, and compressed bytes depend on the version of the library that made them.

    Raises:
        SonoforgeError: The bundle is damaged, or the target is not a ``.zip``.
    """
    if target.suffix != ".zip":
        raise SonoforgeError(f"{target}: expected the name of a .zip file")
    bundle = open_bundle(folder, Manifest)
    contents = {name: bundle.read(name) for name in bundle.manifest.files}
    contents["manifest.json"] = (folder / "manifest.json").read_bytes()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(contents):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.create_system = 3  # Unix, on every machine
            entry.external_attr = _MODE
            archive.writestr(entry, contents[name])
    atomic.write_bytes(target, buffer.getvalue())
    return buffer.tell()
