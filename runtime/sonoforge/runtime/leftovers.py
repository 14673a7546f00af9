"""Find and remove the unfinished files of killed processes, and no file that a living process still writes.

A file or folder is named ``.NAME.HEX.sonoforge-tmp`` while it is written; one that is about to be replaced is set aside
as ``.NAME.HEX.sonoforge-old``.  Its process holds a lock on it (flock), which the system releases when the process
ends.  So a file with such a name and no lock is a leftover.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

if sys.platform != "win32":
    import fcntl

_TEMPORARY, _SET_ASIDE = "sonoforge-tmp", "sonoforge-old"
_LEFTOVER = re.compile(rf"\.(?P<target>.+)\.[0-9a-f]{{12}}\.(?P<kind>{_TEMPORARY}|{_SET_ASIDE})", re.DOTALL)
_LONGEST_NAME = 100  # characters of the target's name in a temporary name; most file systems allow 255 bytes


def temporary_name(target: Path) -> Path:
    """Return a new name beside a target, for an unfinished file or one about to be removed."""
    return target.with_name(f".{target.name[:_LONGEST_NAME]}.{os.urandom(6).hex()}.{_TEMPORARY}")


def set_aside_name(target: Path) -> Path:
    """Return a new name beside a target, for the old file until the new one has its name."""
    return target.with_name(f".{target.name}.{os.urandom(6).hex()}.{_SET_ASIDE}")


def is_unfinished(name: str) -> bool:
    """Return whether a file or folder of this name is being written or a leftover."""
    return _LEFTOVER.fullmatch(name) is not None


def open_new(path: Path) -> BinaryIO:
    """Open a new file, locked as long as it is open."""
    while True:
        # Not tempfile, whose files only their owner can read, whatever the umask.
        file = open(path, "xb")  # noqa: PTH123, SIM115 - the caller closes it
        _lock(file.fileno())
        # Another process may have removed it before it was locked.
        if path.exists():
            return file
        file.close()


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[None]:
    """Make a new folder, locked while inside."""
    while True:
        path.mkdir()
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(FileNotFoundError):
                stack.enter_context(locked(path))
            if path.exists():  # see `open_new`
                yield
                return


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Lock a file or folder while inside, so that it is not taken for a leftover."""
    if sys.platform == "win32":
        yield
        return
    with _opened(path) as descriptor:
        _lock(descriptor)
        yield


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[bool]:
    """Lock a folder while inside; yield whether no other process had it locked, True where locks do not exist."""
    if sys.platform == "win32":  # which cannot open folders
        yield True
        return
    with _opened(folder) as descriptor:
        yield try_lock(descriptor)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def try_lock(descriptor: int) -> bool:
    """Lock an open file; return whether no other process had it locked, True where locks do not exist."""
    if sys.platform != "win32":
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            pass  # a file system without locks
    return True


def _lock(descriptor: int) -> None:
    if sys.platform != "win32":
        with contextlib.suppress(OSError):  # a file system without locks, where `remove_leftovers` removes nothing
            fcntl.flock(descriptor, fcntl.LOCK_EX)


def remove_leftovers(folder: Path) -> None:
    """Remove the leftovers in a folder; a file that was set aside and not replaced gets its name back.

    Nothing is removed where there are no locks: on Windows, and on some file systems.
    """
    if sys.platform == "win32" or not folder.is_dir():
        return
    for path in [Path(entry.path) for entry in os.scandir(folder) if entry.name.endswith((_TEMPORARY, _SET_ASIDE))]:
        found = _LEFTOVER.fullmatch(path.name)
        if not found:
            continue
        # Another process was faster, it is in use, or it belongs to another user.
        with contextlib.suppress(OSError), _opened(path) as descriptor:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            target = path.with_name(found["target"])
            if found["kind"] == _SET_ASIDE and not target.exists():
                path.rename(target)
            elif path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
