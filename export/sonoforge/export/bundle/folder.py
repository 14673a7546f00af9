"""Replace a bundle's folder whole or not at all, and nothing that is not a bundle."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from sonoforge.runtime.errors import SonoforgeError

_TASKS = ("classification", "generation")


def refuse_other_folder(folder: Path) -> None:
    """Refuse to replace what is not a bundle, or what holds files of somebody's own.

    Raises:
        SonoforgeError: The folder holds something else.
    """
    if not folder.exists():
        return
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        known = {"manifest.json", *manifest["files"]} if manifest["task"] in _TASKS else set()
    except (OSError, ValueError, KeyError, TypeError):
        known = set()
    if not known:
        raise SonoforgeError(f"{folder}: is there and is not a bundle; choose another --out")
    others = sorted(item.name for item in folder.iterdir() if item.name not in known)
    if others:
        raise SonoforgeError(
            f"{folder}: found {others[0]}, which is not part of the bundle that is there and would be lost; move it, "
            "or choose another --out"
        )


@contextlib.contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Fill a folder under a temporary name; it takes its place at the end, or not at all.

    Args:
        folder: A bundle's; one that is there is replaced, and stays as it is when an error comes.

    Yields:
        The empty folder to fill.

    Raises:
        SonoforgeError: ``folder`` holds something that is not a bundle, or cannot be written.
    """
    refuse_other_folder(folder)
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
        raise SonoforgeError(f"{folder}: cannot be replaced ({error.strerror}); it is as it was") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
