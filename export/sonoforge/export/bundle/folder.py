"""Replace a bundle's folder whole or not at all, and nothing that is not a bundle."""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from sonoforge.runtime.bundle.reader import TASKS
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
        known, found = {"manifest.json", *manifest["files"]}, TASKS[manifest["task"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SonoforgeError(f"{folder}: exists but is not a bundle; choose another --out") from error
    if found.task != task:
        raise SonoforgeError(
            f"{folder}: found {found.owner}'s bundle, expected {TASKS[task].owner}'s or none; choose another --out"
        )
    others = sorted(item.name for item in folder.iterdir() if item.name not in known)
    if others:
        raise SonoforgeError(
            f"{folder}: found {others[0]}, which is not part of the bundle there and would be lost; move it, or choose "
            "another --out"
        )


def warn_of_lost_formats(folder: Path, fresh: Path) -> None:
    """Name the formats of an earlier bundle that the new one does not have."""
    if folder.exists():
        gone = ", ".join(sorted(_formats(folder) - _formats(fresh)))
        if gone:
            log.warning("%s: the new bundle does without %s, which the old one had", folder, gone)


def _formats(folder: Path) -> set[str]:
    files = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["files"]
    return {entry["format"] for entry in files.values() if "format" in entry}


@contextlib.contextmanager
def replacing_folder(folder: Path, task: str) -> Iterator[Path]:
    """Fill a folder under a temporary name; it takes its place at the end, or not at all.

    Args:
        folder: The bundle's; an existing bundle is replaced, and stays unchanged if an error is raised.
        task: The new bundle's: a bundle of another task is not replaced.

    Yields:
        The empty folder to fill.

    Raises:
        SonoforgeError: ``folder`` holds something that is not a bundle of this task, or cannot be written.
    """
    refuse_other_folder(folder, task)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{folder.name[:50]}-", dir=folder.parent))
        fresh, old = work / "new", work / "old"
        fresh.mkdir()
    except OSError as error:
        raise SonoforgeError(f"{folder}: cannot be written ({error.strerror}); choose another --out") from error
    try:
        yield fresh
        try:
            if folder.exists():
                folder.rename(old)
            fresh.rename(folder)
        except BaseException:
            if old.exists() and not folder.exists():
                old.rename(folder)
            raise
    except OSError as error:
        raise SonoforgeError(f"{folder}: cannot be replaced ({error.strerror}); it is unchanged") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
