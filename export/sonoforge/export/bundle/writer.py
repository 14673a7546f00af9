"""Write a new bundle of any task, format version 1; formats are added by `add_formats`."""

from __future__ import annotations

import datetime
import io
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sonoforge.export.bundle.add_formats import file_entry
from sonoforge.export.bundle.folder import write_manifest
from sonoforge.export.bundle.provenance import provenance
from sonoforge.export.gate.row import ManifestJson
from sonoforge.runtime import atomic
from sonoforge.runtime.bundle.manifest import FORMAT_VERSION
from sonoforge.runtime.errors import SonoforgeError


def write_bundle(folder: Path, task: str, about: Mapping[str, Any], contents: Mapping[str, bytes]) -> ManifestJson:
    """Write the files and the manifest.

    Args:
        folder: An empty folder.
        task: ``classification`` or ``generation``.
        about: The manifest's other keys; ``name``, ``version`` and ``intended_use`` among them.
        contents: Files by name, the ONNX file first.

    Returns:
        The manifest.
    """
    model = next(iter(contents))
    files = {name: file_entry(data) for name, data in contents.items()}
    files[model] |= {"precision": "fp32", "format": "onnx"}
    manifest = {
        "format_version": FORMAT_VERSION,
        "task": task,
        "created": creation_time(),
        **about,
        "files": files,
        "provenance": provenance(),
    }
    for name, data in contents.items():
        atomic.write_bytes(folder / name, data)
    write_manifest(folder, manifest)
    return manifest


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


def npz(arrays: Mapping[str, NDArray[Any]], *, compressed: bool = True) -> bytes:
    """Return arrays as the bytes of an ``.npz`` file."""
    buffer = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()
