"""Write a bundle, format version 1: a folder with its manifest, written whole or not at all, or one ``.zip``."""

import contextlib
import datetime
import hashlib
import importlib.metadata
import json
import os
import platform
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sonoforge.runtime import atomic
from sonoforge.runtime.bundle.files import SIGNATURE, zip_bytes
from sonoforge.runtime.bundle.manifest import FORMAT_VERSION, Manifest, with_digest
from sonoforge.runtime.bundle.reader import manifest_kind, open_bundle
from sonoforge.runtime.errors import SonoforgeError, refusing

ManifestJson = dict[str, Any]
"""A manifest being written: plain JSON, which the runtime's reader checks in the end."""


FormatRow = dict[str, Any]
"""What the manifest, the card and the screen say about one format in a bundle, and how its file fared in the gate.

``format``, ``file``, ``precision``, ``runs_on`` and ``status`` (passed, failed, not checked because nothing on this
machine runs it, or not written) are always there; ``reason``, ``bytes``, ``made_with``, ``tolerance`` and ``max_abs``
(largest difference of a probability, or of an image in [-1, 1]) where known; for classifiers `gate.compare` adds more.
"""


_PACKAGES = (
    *("sonoforge", "torch", "onnx", "onnxscript", "onnxruntime", "numpy", "pillow", "safetensors"),
    *("executorch", "torchao", "litert-torch", "tensorrt_rtx", "tensorrt"),
)


def refuse_other_folder(folder: Path, task: str) -> None:
    """Refuse to replace anything except a bundle for this task, or a bundle that contains the user's files."""
    if not folder.exists():
        return
    with refusing(f"{folder}: exists but is not a bundle", "choose another folder"):
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        known, found = {"manifest.json", SIGNATURE, *manifest["files"]}, manifest_kind(manifest["task"])
    if found.task != task:
        raise SonoforgeError(
            f"{folder}: holds {found.owner}'s bundle, not {manifest_kind(task).owner}'s; choose another folder"
        )
    others = sorted(item.name for item in folder.iterdir() if item.name not in known)
    if others:
        raise SonoforgeError(
            f"{folder}: {others[0]} is not part of the bundle and would be lost; move it, or choose another folder"
        )


@contextlib.contextmanager
def replacing_bundle(folder: Path, task: str) -> Iterator[Path]:
    """Fill a folder under a temporary name; it becomes the bundle at the end, or not at all.

    An existing bundle for the same task is replaced, but stays unchanged if an error is raised.
    """
    refuse_other_folder(folder, task)
    with atomic.replacing_folder(folder) as fresh:
        yield fresh


def write_bundle(folder: Path, task: str, about: Mapping[str, Any], contents: Mapping[str, bytes]) -> None:
    """Write files, the ONNX file first, and the manifest into an empty folder; `add_formats` adds formats.

    ``about`` holds the manifest's other keys, including ``name``, ``version`` and ``intended_use``.
    """
    files = {name: file_entry(data) for name, data in contents.items()}
    files[next(iter(contents))] |= {"precision": "fp32", "format": "onnx"}
    for name, data in contents.items():
        atomic.write_bytes(folder / name, data)
    head = {"format_version": FORMAT_VERSION, "task": task, "created": creation_time()}
    # As in a software bill of materials, without user, folders or machine name.
    provenance = {
        "packages": _packages(),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
    }
    write_manifest(folder, {**head, **about, "files": files, "provenance": provenance})


def write_manifest(folder: Path, manifest: ManifestJson) -> None:
    """Write a manifest with its digest, one value per line; indentation would take up a third of the file."""
    atomic.write_json(folder / "manifest.json", with_digest(atomic.plain(manifest)), indent=0)


def file_entry(data: bytes) -> dict[str, str | int]:
    """Return a file's entry in the manifest."""
    return {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}


def creation_time() -> str:
    """Return the current time, or SOURCE_DATE_EPOCH (whole seconds since 1970) for reproducible builds."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    if given and not given.isdecimal():
        raise SonoforgeError(f"SOURCE_DATE_EPOCH: {given!r} is not a number of seconds since 1970")
    seconds = float(given) if given else time.time()
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).isoformat(timespec="seconds")


def _packages() -> list[dict[str, str]]:
    """Return the name, version, licence and package URL of each installed package."""
    packages = []
    for name in _PACKAGES:
        try:
            about: Any = importlib.metadata.metadata(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        licence = about.get("License-Expression") or about.get("License") or "not stated"
        purl = f"pkg:pypi/{name.replace('_', '-')}@{about['Version']}"
        licence = licence.splitlines()[0][:80]
        packages.append({"name": name, "version": about["Version"], "licence": licence, "purl": purl})
    return packages


def versions() -> dict[str, str]:
    """Return the version of each installed package that may write a model file."""
    return {entry["name"]: entry["version"] for entry in _packages()}


def write_zip(folder: Path, target: Path) -> None:
    """Pack the manifest and the files that it lists, each checked by its hash.

    Nothing is compressed, because weights hardly shrink and compressed bytes depend on the library's version.
    """
    bundle = open_bundle(folder, Manifest)
    contents = {name: bundle.read(name) for name in bundle.manifest.files}
    contents |= {
        name: (folder / name).read_bytes() for name in ("manifest.json", SIGNATURE) if (folder / name).is_file()
    }
    atomic.write_bytes(target, zip_bytes(contents))
