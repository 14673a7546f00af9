"""Read the files of a bundle, a folder or a ``.zip``: each once, with its size and SHA-256 checked.

Nothing is written to disk.  The bytes returned are the ones that were checked. Files that the manifest does not list
are never read.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.bundle.manifest import ArrayKind, FileEntry
from sonoforge.runtime.errors import SonoforgeError, refusing

if TYPE_CHECKING:
    import zipfile

SIGNATURE = "manifest.json.sig"
"""The signature of ``manifest.json``, which no manifest can list; see `signing`."""

_MAX_MANIFEST_BYTES = 4_000_000
_MAX_ARRAY_BYTES = 100_000_000  # of one file: eight images of 1024 x 1024 pixels, float32
_MAX_ZIP_ENTRIES = 1000
_MAX_DIRECTORY_BYTES = 1_000_000  # of the list of entries, which zipfile reads as a whole: a kilobyte for each
_PIECE = 1_000_000
_CLUTTER = (".DS_Store", "Thumbs.db", "desktop.ini")  # of Finder and Explorer, beside the folder __MACOSX
_END = struct.Struct("<4s4H2LH")  # the record at the end of a .zip: ..., size of the list, its place, comment


class BundleError(SonoforgeError):
    """The bundle cannot be used."""


class DamagedBundleError(BundleError):
    """A file of the bundle is missing or differs from the manifest."""


def read_manifest(path: Path) -> bytes:
    """Read ``manifest.json``."""
    if not path.exists():
        raise BundleError(f"{path}: no such bundle; give a folder or .zip with manifest.json")
    data = _read_member(path, "manifest.json", _MAX_MANIFEST_BYTES)
    if len(data) > _MAX_MANIFEST_BYTES:
        raise BundleError(f"{path}: manifest.json: larger than {_MAX_MANIFEST_BYTES} bytes")
    return data


def read_signature(path: Path) -> bytes:
    """Read `SIGNATURE`, the 64 bytes of RFC 8032 (5.1.6) and one more if it is too long."""
    return _read_member(path, SIGNATURE, 64)


def check_sizes(path: Path, files: Mapping[str, FileEntry]) -> None:
    """Check that every listed file is there with its size; raise `DamagedBundleError` otherwise."""
    if path.is_dir():
        found = {item.name: item.stat().st_size for item in path.iterdir() if item.is_file()}
    else:
        with _open_zip(path) as archive:
            found = {name: member.file_size for name, member in _members(path, archive).items()}
    for name, entry in files.items():
        size = found.get(name)
        if size is None:
            raise DamagedBundleError(f"{path}: {name} is missing; copy the whole bundle again")
        if size != entry.bytes:
            raise DamagedBundleError(f"{path}: {name}: {size} bytes instead of {entry.bytes}; copy it again")


def read_checked(path: Path, name: str, entry: FileEntry) -> bytes:
    """Read one file, checked against its size and SHA-256."""
    data = _read_member(path, name, entry.bytes)
    if len(data) != entry.bytes:
        more = "more" if len(data) > entry.bytes else f"{len(data)}"
        raise DamagedBundleError(f"{path}: {name}: {more} bytes instead of {entry.bytes}; copy it again")
    digest = hashlib.sha256(data).hexdigest()
    if digest != entry.sha256:
        raise DamagedBundleError(
            f"{path}: {name}: its SHA-256 is {digest[:12]}... instead of {entry.sha256[:12]}...; copy it again"
        )
    return data


def zip_bytes(contents: Mapping[str, bytes], packed: Callable[[str], bool] = lambda name: False) -> bytes:
    """Return a zip of these files, those ``packed`` compressed: the same files give the same bytes anywhere."""
    import zipfile  # noqa: PLC0415 - kept off the start-up path of --help and of errors

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in sorted(contents.items()):
            entry = zipfile.ZipInfo(name)  # dated 1980, the earliest that a zip can hold
            entry.create_system, entry.external_attr = 3, 0o644 << 16  # Unix, on every machine
            entry.compress_type = zipfile.ZIP_DEFLATED if packed(name) else zipfile.ZIP_STORED
            archive.writestr(entry, data)
    return buffer.getvalue()


def npz(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Return arrays as the bytes of an ``.npz`` file."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def load_arrays(where: str, data: bytes) -> dict[str, NDArray[Any]]:
    """Return the arrays of an ``.npz`` file's bytes."""
    import zipfile  # noqa: PLC0415 - kept off the start-up path of --help and of errors

    with refusing(f"{where}: not a plain numpy archive", kinds=Exception, kind=BundleError):  # of zip, header or dtype
        _check_directory(io.BytesIO(data))
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            total = sum(_checked_entry(member).file_size for member in archive.infolist())
        if total > _MAX_ARRAY_BYTES:
            raise ValueError(f"{total / 1e6:.0f} MB of arrays, more than {_MAX_ARRAY_BYTES / 1e6:.0f}")
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}


def checked_arrays(
    arrays: Mapping[str, NDArray[Any]], where: str, expected: Mapping[str, ArrayKind]
) -> dict[str, NDArray[Any]]:
    """Return the expected arrays after checking that they are finite and have the right dtypes and shapes."""
    count: int | str = "N"
    result = {}
    for key, kind in expected.items():
        array = arrays.get(key)
        if array is None:
            raise BundleError(f"{where}: array {key} is missing, among {', '.join(arrays) or 'none'}")
        shape = [count if size == "N" else size for size in kind.shape]
        fits = array.ndim == len(shape) and all(
            found > 0 and size in (None, "N", found) for found, size in zip(array.shape, shape, strict=True)
        )
        types = [np.dtype(each) for each in (kind.dtype if isinstance(kind.dtype, tuple) else (kind.dtype,))]
        if array.dtype not in types or not fits:
            wanted = ", ".join(str(size) if isinstance(size, int) else "any" for size in shape)
            allowed = " or ".join(map(str, types))
            raise BundleError(f"{where}: {key}: it is {array.dtype} {array.shape}, not {allowed} ({wanted})")
        if not np.isfinite(array).all():
            raise BundleError(f"{where}: {key}: it holds NaN or infinity")
        if "N" in kind.shape:
            count = array.shape[kind.shape.index("N")]
        result[key] = array
    return result


def _read_member(path: Path, name: str, limit: int) -> bytes:
    """Read at most ``limit + 1`` bytes of one file, regardless of the size that an archive states."""
    if path.is_dir():
        target = path / name
        if not target.is_file():
            raise DamagedBundleError(f"{path}: {name} is missing; give a bundle's folder or .zip")
        with refusing(f"{target}: cannot be read", "copy it again", kind=BundleError), target.open("rb") as file:
            return file.read(limit + 1)
    with _open_zip(path) as archive:
        member = _members(path, archive).get(name)
        if member is None:
            raise DamagedBundleError(f"{path}: {name} is missing; give a bundle's folder or .zip")
        # Zipfile, zlib and lzma raise kinds of their own.
        damaged = refusing(f"{path}: {name}: cannot be unpacked", kinds=Exception, kind=DamagedBundleError)
        with damaged, archive.open(_checked_entry(member)) as stream:
            buffer = io.BytesIO()  # reading all at once, zipfile would join pieces repeatedly and hold two copies
            while (left := limit + 1 - buffer.tell()) and (piece := stream.read(min(_PIECE, left))):
                buffer.write(piece)
            return buffer.getvalue()


def _checked_entry(entry: zipfile.ZipInfo) -> zipfile.ZipInfo:
    """Return an entry of an archive, unless it is a link or its compression may need gigabytes."""
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise ValueError("it is a link")
    if entry.compress_type not in (0, 8):  # APPNOTE 4.4.5: stored, deflated
        raise ValueError(f"it is compressed by method {entry.compress_type}, not stored or deflated")
    return entry


def _check_directory(file: IO[bytes]) -> None:
    """Refuse a huge list of entries, which zipfile would read in one go.

    Source: APPNOTE 4.3.16; it searches for the record where zipfile does.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 65535 - _END.size))  # the longest comment
    tail = file.read()
    for at in {len(tail) - _END.size, tail.rfind(b"PK\x05\x06")}:
        if at < 0 or tail[at : at + 4] != b"PK\x05\x06" or at + _END.size > len(tail):
            continue
        directory = _END.unpack_from(tail, at)[5]
        if directory > _MAX_DIRECTORY_BYTES or tail[max(0, at - 20) : at].startswith(b"PK\x06\x07"):  # ZIP64
            raise ValueError(f"its list of entries is larger than {_MAX_DIRECTORY_BYTES} bytes")


def _open_zip(path: Path) -> zipfile.ZipFile:
    import zipfile  # noqa: PLC0415 - kept off the start-up path of --help and of errors

    kinds = OSError, ValueError, zipfile.BadZipFile, NotImplementedError
    with refusing(f"{path}: not a bundle: neither a folder nor a readable .zip", kinds=kinds, kind=BundleError):
        if not path.is_file():
            raise BundleError(f"{path}: neither a folder nor a file; give a bundle")
        with path.open("rb") as file:
            _check_directory(file)
        return zipfile.ZipFile(path)


def _members(path: Path, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Return the archive's files by plain name; folders around all of them are allowed.

    Ignore `_CLUTTER`, and accept the backslashes of old Windows programs.
    """
    infos = archive.infolist()
    if len(infos) > _MAX_ZIP_ENTRIES:
        raise BundleError(f"{path}: {len(infos)} entries are more than {_MAX_ZIP_ENTRIES}")
    files: dict[zipfile.ZipInfo, list[str]] = {}
    for info in infos:
        name = info.orig_filename  # filename is cut at a null byte, with other separators
        parts = name.replace("\\", "/").split("/")
        if parts[0] == "" or ".." in parts or ":" in name or "\x00" in name:
            raise BundleError(f"{path}: the entry {name!r:.120} points outside the bundle; do not trust this file")
        if parts[-1] and parts[0] != "__MACOSX" and parts[-1] not in _CLUTTER and not parts[-1].startswith("._"):
            files[info] = parts
    around = 0
    while len({tuple(parts[: around + 1]) for parts in files.values()}) == 1 < min(map(len, files.values())) - around:
        around += 1
    members: dict[str, zipfile.ZipInfo] = {}
    for info, parts in files.items():
        name = "/".join(parts[around:])
        if name in members:
            raise BundleError(f"{path}: contains {name} twice; do not trust this file")
        members[name] = info
    return members
