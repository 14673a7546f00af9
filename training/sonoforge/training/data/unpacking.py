"""Zips of images: unpacked once into the folder of decoded images, which its owner alone can read.

Nothing is written outside of a new folder there: an entry that leads elsewhere, a link, a password, or more data than
the limits refuses the whole zip.  The folder has its name once it is whole, and the zip's contents in that name.
"""

from __future__ import annotations

import io
import logging
import re
import shutil
import stat
import zipfile
from collections import Counter
from pathlib import Path, PurePosixPath

from sonoforge.runtime.cli.answer import tell
from sonoforge.runtime.errors import SonoforgeError, reason
from sonoforge.runtime.images.folders import is_system_folder
from sonoforge.runtime.leftovers import new_folder, remove_leftovers, temporary_name
from sonoforge.training.checked_file import sha256_of
from sonoforge.training.data.folder_layout import subfolders

log = logging.getLogger(__name__)

MOST_FILES = 1_000_000
MOST_BYTES = 100_000_000_000
"""Of what a zip holds, unpacked."""
MOST_TIMES = 200
"""How many times as large as the zip its contents may be: deflate makes 1032 of one, of pictures hardly two."""
_SMALL = 100_000_000  # bytes; less than this may be packed as tightly as it likes
_MOST_LISTED = 256_000_000  # bytes of the list of entries, which is read whole
_SPARE = 1_000_000_000  # bytes of the disk that are left free
_CHUNK = 1 << 20
_ZIP = re.compile(r"(?P<path>.+\.zip)(?P<column>:[^/\\:]+)?", re.IGNORECASE)


def unpacked(given: Path, store: Path) -> Path:
    """Return the folder that a zip holds, unpacked below ``store``; a path to anything else is returned as it is.

    ``ZIP:COLUMN``, a question to the tables in it, becomes ``FOLDER:COLUMN``.

    Raises:
        SonoforgeError: It is damaged or too large, or an entry has no place in a folder.
    """
    named = _ZIP.fullmatch(str(given))
    if not named or given.is_dir() or not (path := Path(named["path"])).is_file():
        return given
    try:
        target = store / f"unpacked-{sha256_of(path)[:16]}"
        if not target.is_dir():
            _unpack(path, target)
    except SonoforgeError:
        raise
    except Exception as error:  # hostile bytes may fail in any way
        raise SonoforgeError(
            f"{path}: cannot be unpacked ({reason(error)}); pack it again without a password"
        ) from error
    folder = target / _name(path)
    inside = [entry for entry in folder.iterdir() if not is_system_folder(entry.name)]
    while len(inside) == 1 and inside == subfolders(folder):
        folder = inside[0]
        inside = [entry for entry in folder.iterdir() if not is_system_folder(entry.name)]
    return Path(f"{folder}{named['column'] or ''}")


def _name(path: Path) -> str:
    return path.stem.strip(". ") or "set"


def _unpack(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(target.parent)
    made = temporary_name(target)
    with _Bounded(io.FileIO(path)) as stream, zipfile.ZipFile(stream) as archive:
        files = _checked(path, archive)
        _check_room(path, target.parent, sum(info.file_size for info in files.values()))
        with new_folder(made):
            try:
                for place, info in files.items():
                    file = made / _name(path) / place
                    file.parent.mkdir(parents=True, exist_ok=True)
                    with archive.open(info) as packed, file.open("xb") as out:
                        # No more than the entry states is ever handed out, see `zipfile.ZipExtFile`.
                        shutil.copyfileobj(packed, out, _CHUNK)
                made.chmod(0o700)
                made.rename(target)
            except BaseException:
                shutil.rmtree(made, ignore_errors=True)
                if not target.is_dir():  # another process was faster
                    raise
    tell(f"{path}: unpacked, {len(files)} files; sonoforge data cache --clear removes them", printer=log.info)


class _Bounded(io.BufferedReader):
    """A zip as `zipfile` reads it: the list of its entries at once, each of which would become an object."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _MOST_LISTED:
            raise self._refusal(f"a list of entries of {size / 1e6:.0f} MB", f"{_MOST_LISTED / 1e6:.0f} MB")
        data = super().read(size)
        if (entries := data.count(b"PK\1\2")) > MOST_FILES:
            raise self._refusal(f"{entries} entries", str(MOST_FILES))
        return data

    def _refusal(self, found: str, most: str) -> SonoforgeError:
        return SonoforgeError(f"{self.name}: found {found}, expected at most {most}; pack fewer files")


def _check_room(path: Path, store: Path, size: int) -> None:
    free = max(0, shutil.disk_usage(store).free - _SPARE)
    if size > free:
        raise SonoforgeError(
            f"{path}: holds {size / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free in {store}; name another folder with "
            "--cache"
        )


def _checked(path: Path, archive: zipfile.ZipFile) -> dict[PurePosixPath, zipfile.ZipInfo]:
    """Return the entry of each file by its place; those of the operating system are left out."""
    files: dict[PurePosixPath, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        name = info.filename.replace("\\", "/")  # as old Windows programs write them
        place = PurePosixPath(name)
        kind = stat.S_IFMT(info.external_attr >> 16)
        if name.startswith("/") or ".." in place.parts or re.search(r"[:\x00-\x1f]", name):
            raise SonoforgeError(f"{path}: found the entry {info.filename!r}, expected paths inside the zip only")
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise SonoforgeError(f"{path}: found the entry {info.filename!r}, a link or a device; pack the file itself")
        if info.flag_bits & 1:
            raise SonoforgeError(f"{path}: found a password on {info.filename!r}; pack it again without one")
        if not info.is_dir() and not name.endswith("/") and not any(map(is_system_folder, place.parts)):
            files[place] = info
    twice = [name for name, count in Counter(str(place).casefold() for place in files).items() if count > 1]
    size = sum(info.file_size for info in files.values())
    if twice:
        raise SonoforgeError(f"{path}: found {twice[0]} twice, in whatever case; pack it again")
    if not files:
        raise SonoforgeError(f"{path}: found no files, expected a folder of images")
    most = min(MOST_BYTES, max(_SMALL, MOST_TIMES * path.stat().st_size))
    if len(files) > MOST_FILES or size > most:
        raise SonoforgeError(
            f"{path}: holds {len(files)} files of {size / 1e9:.1f} GB, expected at most {MOST_FILES} of "
            f"{most / 1e9:.1f} GB; unpack it by hand if you trust it"
        )
    return files
