"""Replace a bundle's folder whole or not at all, and nothing that is not a bundle."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path

from sonoforge.export.gate.row import ManifestJson
from sonoforge.runtime import atomic
from sonoforge.runtime.bundle.reader import manifest_kind
from sonoforge.runtime.errors import SonoforgeError

log = logging.getLogger(__name__)


def refuse_other_folder(folder: Path, task: str) -> None:
    """Refuse to replace what is not a bundle of this task, or what holds files of somebody's own.

    Raises:
        SonoforgeError: The folder holds something else.
    """
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

    Args:
        folder: The bundle's; an existing bundle is replaced, and stays unchanged if an error is raised.
        task: The new bundle's: a bundle of another task is not replaced.

    Yields:
        The empty folder to fill.

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


def write_manifest(folder: Path, manifest: ManifestJson) -> None:
    """Write a bundle's manifest, a value a line and no indentation, which would be a third of the file."""
    atomic.write_json(folder / "manifest.json", manifest, indent=0)
