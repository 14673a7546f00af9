"""What killed processes left unfinished: told from what a living process still writes, and removed.

A file or folder has a temporary name while it is written, ``.NAME.HEX.sonoforge-tmp``, and one that is about to be
replaced is set aside as ``.NAME.HEX.sonoforge-old``.  Its process holds a lock on it (flock), which the system drops
with the process, however that ends.  So what has such a name and no lock is a leftover.
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
_LONGEST_NAME = 100  # characters of the target's in a temporary name, which may have 255 bytes on most file systems


def temporary_name(target: Path) -> Path:
    """Return a new name beside a target, for what is not finished or about to be removed."""
    return target.with_name(f".{target.name[:_LONGEST_NAME]}.{os.urandom(6).hex()}.{_TEMPORARY}")


def set_aside_name(target: Path) -> Path:
    """Return a new name beside a target, for the old one until the new one has its name."""
    return target.with_name(f".{target.name}.{os.urandom(6).hex()}.{_SET_ASIDE}")


def is_unfinished(name: str) -> bool:
    """Whether a file or folder of this name is being written, or a leftover."""
    return _LEFTOVER.fullmatch(name) is not None


def open_new(path: Path) -> BinaryIO:
    """Open a new file that is no leftover as long as it is open."""
    while True:
        # Not tempfile: its files are readable by their owner alone, whatever the umask says.
        file = open(path, "xb")  # noqa: PTH123, SIM115 - the caller closes it
        _lock(file.fileno())
        # A process that cleans up may have removed it between its making and its lock.
        if path.exists():
            return file
        file.close()


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[None]:
    """Make a new folder that is no leftover while inside."""
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
    """Keep a file or folder from being taken for a leftover while inside, whatever its name."""
    if sys.platform == "win32":
        yield
        return
    with _opened(path) as descriptor:
        _lock(descriptor)
        yield


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[bool]:
    """Lock a folder while inside, and say whether no other process had; True where that cannot be asked."""
    if sys.platform == "win32":  # where no folder can be opened
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
    """Lock what is open, and say whether nobody else had; True where that cannot be asked."""
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
    """Remove what killed processes left in a folder; what they had set aside and not yet replaced gets its name back.

    Nothing is removed where processes cannot be asked whether they live: on Windows, and on file systems without locks.
    """
    if sys.platform == "win32" or not folder.is_dir():
        return
    for path in [Path(entry.path) for entry in os.scandir(folder) if entry.name.endswith((_TEMPORARY, _SET_ASIDE))]:
        found = _LEFTOVER.fullmatch(path.name)
        if not found:
            continue
        # Somebody else was faster, it is in use, or it is not ours to remove.
        with contextlib.suppress(OSError), _opened(path) as descriptor:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            target = path.with_name(found["target"])
            if found["kind"] == _SET_ASIDE and not target.exists():
                path.rename(target)
            elif path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
