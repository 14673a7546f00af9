"""Write files and folders whole or not at all, even when the process is killed; temporary folders; strict JSON.

A file or folder is named ``.NAME.HEX.sonoforge-tmp`` while it is written; one that is about to be replaced is set aside
as ``.NAME.HEX.sonoforge-old``.  Its process holds a lock on it (flock), which the system releases when the process
ends.  A file with such a name and no lock is therefore a leftover.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import functools
import json
import math
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from sonoforge.runtime.errors import SonoforgeError, refusing

if sys.platform != "win32":
    import fcntl

_TRIAL_BYTES = 65536  # of a small picture
_WIDTH = 120  # of a line of JSON
_CANNOT_WRITE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)

_TEMPORARY, _SET_ASIDE = "sonoforge-tmp", "sonoforge-old"
# What a killed process left, or another one is writing.
LEFTOVER = re.compile(rf"\.(?P<target>.+)\.[0-9a-f]{{12}}\.(?P<kind>{_TEMPORARY}|{_SET_ASIDE})", re.DOTALL)
# Bytes of another file's name in a file's; with all endings it fits into 143, what encrypted folders (eCryptfs) allow.
_LONGEST_NAME = 100
_RESERVED = re.compile(r"^(con|prn|aux|nul|com\d|lpt\d)(?=\.|$)", re.IGNORECASE)  # on Windows, with any ending


@contextlib.contextmanager
def replacing(path: Path | str, durable: bool = True) -> Iterator[BinaryIO]:
    """Open a temporary file that takes the target's name once complete; create missing folders.

    A reader sees the old content or the new, never a part.  If ``durable``, it also survives a power cut.  A device or
    pipe is written to as it is.
    """
    target = Path(path)
    temporary = temporary_name(target)
    with _writing(target):
        if target.exists() and (not target.is_file() or target.parent == Path("/dev")):  # never replaced by a file
            with target.open("wb") as file:
                yield file
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        _tidy_once(target.parent)
        try:
            with open_new(temporary) as file:
                yield file
                file.flush()
                if durable:
                    os.fsync(file.fileno())
                if os.name != "posix":  # where an open file cannot be renamed
                    file.close()
                temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        if durable:
            _sync_folder(target.parent)


@functools.cache
def _tidy_once(folder: Path) -> None:
    """Remove leftovers when this process first writes into a folder; it may hold thousands of files."""
    remove_leftovers(folder)


def write_bytes(path: Path | str, data: bytes) -> None:
    """Write a whole file, durably; see `replacing`."""
    with replacing(path) as file:
        file.write(data)


@contextlib.contextmanager
def replacing_folder(path: Path | str, durable: bool = True, new: bool = False) -> Iterator[Path]:
    """Make an empty folder to fill, which takes the target's name once complete.

    A reader sees the old folder, the new one or, for an instant, none, but never a part; if a process is killed in that
    instant, the next one to write there gives the old folder its name back, see `remove_leftovers`. If ``durable``, it
    also survives a power cut; if ``new``, an existing folder must be empty.
    """
    target = Path(path)
    temporary = temporary_name(target)
    with _writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(target.parent)
        with new_folder(temporary):
            try:
                yield temporary
                if durable:
                    for file in filter(Path.is_file, temporary.rglob("*")):
                        with file.open("r+b") as stream:
                            os.fsync(stream.fileno())
                    _sync_folder(temporary)
                if new or not target.exists():
                    temporary.rename(target)  # over nothing but an empty folder
                else:
                    old = target.with_name(f".{target.name}.{os.urandom(6).hex()}.{_SET_ASIDE}")
                    with locked(target):
                        target.rename(old)
                        try:
                            temporary.rename(target)
                        except BaseException:
                            old.rename(target)
                            raise
                        shutil.rmtree(old, ignore_errors=True)
            except BaseException:
                shutil.rmtree(temporary, ignore_errors=True)
                raise
        if durable:
            _sync_folder(target.parent)


def prepare_folder(folder: Path) -> None:
    """Make a folder and check that it can be written; raise `SonoforgeError` if not, for example on a full disk."""
    trial = temporary_name(folder / "trial")
    with refusing(f"{folder}: cannot be written", "choose another folder or make room", kinds=OSError):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with open_new(trial) as file:
                file.write(bytes(_TRIAL_BYTES))
        finally:
            trial.unlink(missing_ok=True)


def remove_folder(path: Path) -> None:
    """Remove a folder; a reader sees all of it or nothing, even if the process is killed meanwhile."""
    removed = temporary_name(path)
    with refusing(f"{path}: cannot be removed", "free it"):
        path.rename(removed)
    shutil.rmtree(removed, ignore_errors=True)


def _writing(target: Path) -> contextlib.AbstractContextManager[None]:
    return refusing(f"{target}: cannot be written", "choose another path or free this one", kinds=OSError)


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut if the file system allows it (POSIX)."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:  # some network file systems refuse to sync a folder; the file itself is synced
        pass
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """Make a folder and remove it at the end; raise `SonoforgeError` if it or a file in it cannot be written."""
    remedy = "free some space, or set TMPDIR"
    with contextlib.ExitStack() as stack:
        with refusing("no temporary folder can be made", remedy):
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="sonoforge-", ignore_cleanup_errors=True))
        try:
            yield Path(folder)
        except OSError as error:
            if error.errno not in _CANNOT_WRITE:
                raise
            raise SonoforgeError(f"the temporary folder cannot be written ({error.strerror}); {remedy}") from error


def write_text(path: Path | str, text: str) -> None:
    """Write UTF-8 text, newlines as given, escaping characters that UTF-8 cannot hold; see `write_bytes`."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_json(path: Path | str, value: Any, indent: int = 2) -> None:
    """Write one strict JSON document; see `plain` and `write_bytes`."""
    write_text(path, json.dumps(plain(value), indent=indent, ensure_ascii=False, allow_nan=False) + "\n")


def laid_out(value: Any, indent: int = 0, room: int = _WIDTH) -> str:
    """Return strict JSON of a `plain` value, with each inner value on one line if it fits, else indented by two.

    ``indent`` is the enclosing value's, 0 for the document, which is never on one line.
    """
    line = json.dumps(value, allow_nan=False)
    if not isinstance(value, dict | list) or not value or (indent and len(line) <= room):
        return line
    inside = indent + 2
    pairs = (
        [(f"{json.dumps(key)}: ", value[key]) for key in value] if isinstance(value, dict) else [("", i) for i in value]
    )
    lines = [" " * inside + key + laid_out(item, inside, _WIDTH - inside - len(key) - 1) for key, item in pairs]
    start, end = "{}" if isinstance(value, dict) else "[]"
    return start + "\n" + ",\n".join(lines) + f"\n{' ' * indent}{end}"


def plain(value: Any) -> Any:  # noqa: PLR0911 - one line for each kind of value
    """Turn a nested value into plain JSON values; raise `TypeError` if a value has no JSON form.

    numpy scalars and arrays become numbers and lists, dataclasses and mappings objects, paths strings with forward
    slashes, NaN and infinity ``null``.
    """
    if value is None or isinstance(value, str | bool):
        return value
    numpy = sys.modules.get("numpy")  # not imported here: doctor reports a broken numpy in JSON
    if numpy is not None and isinstance(value, numpy.generic | numpy.ndarray):
        return plain(value.tolist())
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in (sorted(value) if isinstance(value, set | frozenset) else value)]
    if isinstance(value, os.PathLike):
        return Path(value).as_posix()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    raise TypeError(f"{type(value).__name__} has no JSON form")


# ---- leftovers of killed processes


def temporary_name(target: Path) -> Path:
    """Return a new name beside a target, for an unfinished file or one about to be removed."""
    return target.with_name(f".{safe_name(target.name)}.{os.urandom(6).hex()}.{_TEMPORARY}")


def safe_name(name: str) -> str:
    """Return a name, without its ending, for a file made from one of that name, valid on any system; most are kept.

    A longer one than 100 bytes loses its middle, and the start of its SHA-256 keeps it different from others.
    """
    name = _RESERVED.sub(r"\1_", name)
    data = name.encode("utf-8", "surrogatepass")
    if len(data) <= _LONGEST_NAME:
        return name
    from hashlib import sha256  # noqa: PLC0415 - for long names only

    kept = (data[:60] + data[-31:]).decode("utf-8", "ignore")  # slices and frames are numbered at the end
    return f"{kept}-{sha256(data).hexdigest()[:8]}"


def open_new(path: Path) -> BinaryIO:
    """Open a new file and lock it while it is open."""
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
def private_folder(name: str) -> Iterator[Path]:
    """Make a temporary folder that only its owner can read, and remove it at the end; see `temporary_name`.

    What killed processes left is removed first.
    """
    base = Path(tempfile.gettempdir())
    remove_leftovers(base)
    folder = temporary_name(base / name)
    with new_folder(folder):
        folder.chmod(0o700)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


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
    """Lock a folder while inside; yield False if another process had it locked, True without locks."""
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
    """Lock an open file; return True unless another process had it locked; always True where locks do not exist."""
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
        found = LEFTOVER.fullmatch(path.name)
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
