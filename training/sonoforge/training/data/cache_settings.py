"""Where decoded images are kept, how many of them, and how they are got rid of.

Decoded images are patients' images: they lie in a folder that only its owner can read, the least recently used go first
where it grows too large, and ``none`` keeps them no longer than the command runs.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import logging
import os
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from sonoforge.runtime.cli.options import option
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.leftovers import new_folder, remove_leftovers, temporary_name

log = logging.getLogger(__name__)

NONE = "none"
_OWNER_ALONE = 0o700
# What the program writes into the folder; nothing else there is counted or removed.
_IMAGES, _SETS = ("format*", "features"), ("phantom-*", "unpacked-*")


@dataclass(frozen=True)
class CacheSettings:
    """The folder of decoded images."""

    folder: str = option(
        "",
        help="folder that caches decoded images (default: $SONOFORGE_CACHE or ~/.cache/sonoforge); none: "
        "delete them when the command ends",
    )
    limit: float = option(
        20.0,
        help="largest size of that cache in GB; the least recently used images are deleted first",
        limits=(0.1, None),
    )

    def open(self) -> Path:
        """Return the folder, made if need be, with room for the images to come.

        Raises:
            SonoforgeError: It cannot be written.
        """
        folder = _temporary_folder() if self.folder == NONE else Path(self.folder or default_folder())
        if not folder.is_dir():
            try:
                folder.parent.mkdir(parents=True, exist_ok=True)
                folder.mkdir(mode=_OWNER_ALONE, exist_ok=True)
            except OSError as error:
                raise SonoforgeError(
                    f"{folder}: the folder of decoded images cannot be written ({error.strerror}); name another with "
                    "--set cache.folder=FOLDER, or keep none with --set cache.folder=none"
                ) from error
            log.info("decoded images are kept in %s; sonoforge data list --clear-cache deletes them", folder)
        prune(folder, int(self.limit * 1e9))
        return folder


def default_folder() -> Path:
    """Return ``$SONOFORGE_CACHE``, or ``~/.cache/sonoforge`` where it is not set."""
    return Path(os.environ.get("SONOFORGE_CACHE") or Path.home() / ".cache" / "sonoforge")


@functools.cache
def _temporary_folder() -> Path:
    """Make the folder of this process; what a killed one left behind is removed by the next."""
    base = Path(tempfile.gettempdir())
    remove_leftovers(base)
    folder = temporary_name(base / "sonoforge-images")
    stack = contextlib.ExitStack()
    stack.enter_context(new_folder(folder))
    folder.chmod(_OWNER_ALONE)

    def remove() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        stack.close()

    atexit.register(remove)
    return folder


class File(NamedTuple):
    """A file in the folder of decoded images."""

    used: float  # when it was written or last read as a whole set, seconds since the epoch
    bytes: int
    path: Path


def kept_folders(folder: Path) -> list[Path]:
    """Return what the program keeps in a folder of decoded images: images, features, simulated and unpacked sets."""
    return [path for pattern in _IMAGES + _SETS for path in sorted(folder.glob(pattern)) if path.is_dir()]


def kept_files(folders: Iterable[Path]) -> list[File]:
    """Return the files below some folders, the least recently used first."""
    found = []
    for folder in folders:
        for parent, _, names in os.walk(folder):
            for path in (Path(parent) / name for name in names):
                with contextlib.suppress(OSError):  # another process was faster
                    status = path.stat()
                    found.append(File(status.st_mtime, status.st_size, path))
    return sorted(found)


def prune(folder: Path, most_bytes: int) -> int:
    """Remove the least recently used files until at most so many bytes are left; returns the number of bytes removed.

    A process that has mapped a file keeps it until it ends.  Simulated and unpacked sets stay: what is
    in use must not lose a file.
    """
    files = kept_files(path for pattern in _IMAGES for path in folder.glob(pattern))
    excess = sum(file.bytes for file in files) - most_bytes
    removed = 0
    for file in files:
        if removed >= excess:
            break
        with contextlib.suppress(OSError):
            file.path.unlink()
            removed += file.bytes
    if removed:
        log.info("%s: %.1f GB of the least recently used images were removed (cache.limit)", folder, removed / 1e9)
    return removed
