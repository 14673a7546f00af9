"""Unpack zips of images once, into the folder of decoded images, writing nothing outside a new folder there.

The whole zip is refused for an entry that leads elsewhere, a link, a password, or too much data.
"""

import io
import logging
import re
import shutil
import stat
import zipfile
from collections import Counter
from pathlib import Path, PurePosixPath

from sonoforge.runtime.atomic import new_folder, remove_leftovers, temporary_name
from sonoforge.runtime.cli.answer import tell
from sonoforge.runtime.errors import SonoforgeError, refusing
from sonoforge.runtime.images.folders import is_system_folder
from sonoforge.runtime.images.inputs import sha256_of
from sonoforge.training.data.layouts import subfolders

log = logging.getLogger(__name__)

MOST_FILES = 1_000_000
MOST_BYTES = 100_000_000_000
"""Limit for a zip's unpacked contents."""
MOST_TIMES = 200
"""Largest ratio of contents to zip: deflate reaches 1032, pictures hardly two."""
_SMALL = 100_000_000  # bytes; less than this may have any ratio
_FEW = 10_000  # files that may have any size; each takes half a millisecond and a kilobyte of memory
_LEAST_EACH = 2000  # bytes of the zip for each file, if there are more
_MOST_LISTED = 256_000_000  # bytes of the list of entries, which is read whole
_SPARE = 1_000_000_000  # bytes of the disk to leave free
_CHUNK = 1 << 20
_ZIP = re.compile(r"(?P<path>.+\.zip)(?P<column>:[^/\\:]+)?", re.IGNORECASE)


def unpacked(given: Path, store: Path) -> Path:
    """Return a zip's folder, unpacked below ``store``; return any other path unchanged.

    ``ZIP:COLUMN``, a question to its tables, becomes ``FOLDER:COLUMN``.
    """
    named = _ZIP.fullmatch(str(given))
    if not named or given.is_dir() or not (path := Path(named["path"])).is_file():
        return given
    # Hostile bytes may fail in any way.
    with refusing(f"{path}: cannot be unpacked", "pack it again without a password", kinds=Exception):
        target = store / f"unpacked-{sha256_of(path)[:16]}"
        if not target.is_dir():
            _unpack(path, target)
    folder = target / _name(path)
    while len(inside := [own for own in folder.iterdir() if not is_system_folder(own.name)]) == 1:
        if inside != subfolders(folder):
            break
        folder = inside[0]
    return Path(f"{folder}{named['column'] or ''}")


def _name(path: Path) -> str:
    return path.stem.strip(". ") or "set"


def _unpack(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(target.parent)
    made = temporary_name(target)
    with _Bounded(io.FileIO(path)) as stream, zipfile.ZipFile(stream) as archive:
        files = _checked(path, archive)
        size = sum(info.file_size for info in files.values())
        free = max(0, shutil.disk_usage(target.parent).free - _SPARE)
        if size > free:
            raise SonoforgeError(
                f"{path}: holds {size / 1e9:.1f} GB, but {target.parent} has only {free / 1e9:.1f} GB free; choose "
                "another folder with --set cache.folder"
            )
        with new_folder(made):
            try:
                for place, info in files.items():
                    file = made / _name(path) / place
                    file.parent.mkdir(parents=True, exist_ok=True)
                    with archive.open(info) as packed, file.open("xb") as out:
                        # `zipfile.ZipExtFile` never returns more than the entry states.
                        shutil.copyfileobj(packed, out, _CHUNK)
                made.chmod(0o700)
                made.rename(target)
            except BaseException:
                shutil.rmtree(made, ignore_errors=True)
                if not target.is_dir():  # another process was faster
                    raise
    tell(f"{path}: unpacked, {len(files)} files; sonoforge data list --clear-cache deletes them", printer=log.info)


class _Bounded(io.BufferedReader):
    """A zip with a bounded list of entries, as `zipfile` reads it at once and makes an object for each."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _MOST_LISTED:
            raise SonoforgeError(
                f"{self.name}: its list of entries has {size / 1e6:.0f} MB, which is too much; pack fewer files"
            )
        data, most = super().read(size), min(MOST_FILES, max(_FEW, Path(self.name).stat().st_size // _LEAST_EACH))
        if (entries := data.count(b"PK\1\2")) > most:
            raise SonoforgeError(
                f"{self.name}: it has {entries} entries, more than {most} for its size; unpack it if you trust it"
            )
        return data


def _checked(path: Path, archive: zipfile.ZipFile) -> dict[PurePosixPath, zipfile.ZipInfo]:
    """Return the entry of each file by its path, without files of the operating system."""
    files: dict[PurePosixPath, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        name = info.filename.replace("\\", "/")  # as old Windows programs write them
        place = PurePosixPath(name)
        kind = stat.S_IFMT(info.external_attr >> 16)
        if name.startswith("/") or ".." in place.parts or re.search(r"[:\x00-\x1f]", name):
            raise SonoforgeError(f"{path}: the entry {info.filename!r} leads outside the zip; pack it again")
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise SonoforgeError(f"{path}: the entry {info.filename!r} is a link or a device; pack the file itself")
        if info.flag_bits & 1:
            raise SonoforgeError(f"{path}: {info.filename!r} has a password; pack it again without one")
        if not info.is_dir() and not name.endswith("/") and not any(map(is_system_folder, place.parts)):
            files[place] = info
    twice = [name for name, count in Counter(str(place).casefold() for place in files).items() if count > 1]
    size = sum(info.file_size for info in files.values())
    if twice:
        raise SonoforgeError(f"{path}: holds {twice[0]} twice (case is ignored); pack it again")
    if not files:
        raise SonoforgeError(f"{path}: is empty; pack a folder of images")
    most = min(MOST_BYTES, max(_SMALL, MOST_TIMES * path.stat().st_size))
    if len(files) > MOST_FILES or size > most:
        raise SonoforgeError(
            f"{path}: its {len(files)} files of {size / 1e9:.1f} GB exceed the limit of {MOST_FILES} files or "
            f"{most / 1e9:.1f} GB; unpack it by hand if you trust it"
        )
    return files
