"""Open a bundle, a folder or the same as ``.zip``, and hand out only what was checked.

Nothing is ever extracted to disk.  A file is read once; its size and SHA-256 are compared with the manifest and the
very bytes that passed are returned, so that what was checked is what is used.  Files that the manifest does not list
are never read.
"""

from __future__ import annotations

import hashlib
import io
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.manifest import MAX_FILE_BYTES, Manifest, ManifestError, parse_manifest
from sonoforge.runtime.trust import TrustReference

if TYPE_CHECKING:
    import zipfile

SHIPPED = Path(__file__).parent / "bundles" / "busi"
_MAX_MANIFEST_BYTES = 4_000_000
_MAX_ZIP_ENTRIES = 1000


class BundleError(SonoforgeError):
    """The bundle cannot be used."""


class DamagedBundleError(BundleError):
    """A file of the bundle is missing or is not the one that the manifest describes."""


@dataclass(frozen=True)
class Bundle:
    """An opened bundle.

    Attributes:
        path: The folder or the ``.zip`` file.
        manifest: Its checked manifest.
    """

    path: Path
    manifest: Manifest

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the outputs."""
        return self.manifest.classes

    def read(self, name: str) -> bytes:
        """Read one file, checked against its size and SHA-256.

        Raises:
            DamagedBundleError: The file is missing, of another size or of another content.
        """
        entry = self.manifest.files[name]
        data = _read_member(self.path, name, entry.bytes)
        if len(data) != entry.bytes:
            more = "more" if len(data) > entry.bytes else f"{len(data)}"
            raise DamagedBundleError(f"{self.path}: {name}: found {more} bytes, expected {entry.bytes}; copy it again")
        digest = hashlib.sha256(data).hexdigest()
        if digest != entry.sha256:
            raise DamagedBundleError(
                f"{self.path}: {name}: found SHA-256 {digest[:12]}..., expected {entry.sha256[:12]}...; copy it again"
            )
        return data

    def trust_reference(self) -> TrustReference:
        """Return the Gaussian of the training images' embeddings.

        Raises:
            BundleError: The arrays are missing or of another shape.
        """
        arrays = self._arrays("reference.npz")
        (size,) = self.manifest.outputs["embedding"]
        reference = TrustReference(
            self._array(arrays, "reference.npz", "trust_mean", np.float32, (size,)),
            self._array(arrays, "reference.npz", "trust_components", np.float32, (size, None)),
            self._array(arrays, "reference.npz", "trust_residual", np.float32, (1,)),
        )
        if not reference.residual[0] > 0 or not np.any(reference.components, axis=0).all():
            raise BundleError(f"{self.path}: reference.npz: found a deviation of zero, expected all above 0")
        return reference

    def golden(self) -> dict[str, NDArray[Any]]:
        """Return the golden vectors: ``pixels`` (N, S, S, 3) uint8 and each output (N, ...) float32.

        Raises:
            BundleError: The arrays are missing or of another shape.
        """
        arrays = self._arrays("golden.npz")
        side = self.manifest.preprocessing.size
        pixels = self._array(arrays, "golden.npz", "pixels", np.uint8, (None, side, side, 3))
        result = {"pixels": pixels}
        for name, shape in self.manifest.outputs.items():
            result[name] = self._array(arrays, "golden.npz", name, np.float32, (len(pixels), *shape))
        return result

    def _arrays(self, name: str) -> dict[str, NDArray[Any]]:
        import zipfile  # noqa: PLC0415 - kept off the start-up path of --help and of errors

        data = self.read(name)
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                total = sum(member.file_size for member in archive.infolist())
            if total > MAX_FILE_BYTES:
                raise ValueError(f"{total / 1e6:.0f} MB of arrays")
            with np.load(io.BytesIO(data), allow_pickle=False) as archive:
                return {key: archive[key] for key in archive.files}
        except Exception as error:  # zip, header or dtype: whatever is wrong, the file is not usable
            reason = " ".join(str(error).split())[:120]
            raise BundleError(f"{self.path}: {name}: not a plain numpy archive ({reason})") from error

    def _array(
        self, arrays: dict[str, NDArray[Any]], file: str, key: str, dtype: type, shape: tuple[int | None, ...]
    ) -> NDArray[Any]:
        """Return one array after checking its dtype, its shape (None: any size but 0) and its finiteness."""
        array = arrays.get(key)
        if array is None:
            raise BundleError(f"{self.path}: {file}: array {key} is missing; found {', '.join(arrays) or 'none'}")
        fits = array.ndim == len(shape) and all(
            found > 0 and expected in (None, found) for found, expected in zip(array.shape, shape, strict=True)
        )
        if array.dtype != dtype or not fits:
            wanted = ", ".join("any" if size is None else str(size) for size in shape)
            raise BundleError(
                f"{self.path}: {file}: {key}: found {array.dtype} {array.shape}, expected {np.dtype(dtype)} ({wanted})"
            )
        if not np.isfinite(array).all():
            raise BundleError(f"{self.path}: {file}: {key}: found NaN or infinity, expected finite numbers")
        return array


def open_bundle(path: Path | str | None = None) -> Bundle:
    """Open a bundle and check its manifest and that every listed file is there with its size.

    The content of a file is checked when it is read, before use.

    Args:
        path: A bundle's folder or ``.zip``; None for the bundle shipped with sonoforge.

    Raises:
        SonoforgeError: No bundle there, or one that is damaged or that this version does not know.
    """
    if path is None and not SHIPPED.is_dir():
        raise BundleError("no bundle is shipped with this install; give --bundle FOLDER_OR_ZIP")
    place = SHIPPED if path is None else Path(path)
    if not place.exists():
        raise BundleError(f"{place}: no such bundle; expected a folder or .zip with manifest.json")
    data = _read_member(place, "manifest.json", _MAX_MANIFEST_BYTES)
    if len(data) > _MAX_MANIFEST_BYTES:
        raise BundleError(f"{place}: manifest.json: found more than {_MAX_MANIFEST_BYTES} bytes")
    try:
        manifest = parse_manifest(data)
    except SonoforgeError as error:
        raise ManifestError(f"{place}: manifest.json: {error}") from error
    sizes = _sizes(place)
    for name, entry in manifest.files.items():
        found = sizes.get(name)
        if found is None:
            raise DamagedBundleError(f"{place}: {name} is missing; copy the whole bundle again")
        if found != entry.bytes:
            raise DamagedBundleError(f"{place}: {name}: found {found} bytes, expected {entry.bytes}; copy it again")
    return Bundle(place, manifest)


def _sizes(place: Path) -> dict[str, int]:
    """Return the size in bytes of every regular file of a bundle, as its container tells it."""
    if place.is_dir():
        return {item.name: item.stat().st_size for item in place.iterdir() if item.is_file()}
    with _open_zip(place) as archive:
        return {name: member.file_size for name, member in _members(place, archive).items()}


def _read_member(place: Path, name: str, limit: int) -> bytes:
    """Read at most ``limit + 1`` bytes of one file, whatever size a container promises."""
    if place.is_dir():
        target = place / name
        if not target.is_file():
            raise DamagedBundleError(f"{place}: {name} is missing; expected a bundle's folder or .zip")
        try:
            with target.open("rb") as file:
                return file.read(limit + 1)
        except OSError as error:
            raise BundleError(f"{target}: cannot be read ({error.strerror})") from error
    with _open_zip(place) as archive:
        member = _members(place, archive).get(name)
        if member is None:
            raise DamagedBundleError(f"{place}: {name} is missing; expected a bundle's folder or .zip")
        try:
            with archive.open(member) as stream:
                return stream.read(limit + 1)
        except (OSError, ValueError, RuntimeError, NotImplementedError, EOFError, zlib.error) as error:
            raise DamagedBundleError(f"{place}: {name}: cannot be unpacked ({error})") from error
        except Exception as error:  # zipfile.BadZipFile and lzma's own: the archive is damaged
            raise DamagedBundleError(f"{place}: {name}: cannot be unpacked ({error})") from error


def _open_zip(place: Path) -> zipfile.ZipFile:
    import zipfile  # noqa: PLC0415 - kept off the start-up path of --help and of errors

    try:
        if not place.is_file():
            raise BundleError(f"{place}: found neither a folder nor a file, expected a bundle")
        return zipfile.ZipFile(place)
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError) as error:
        raise BundleError(f"{place}: not a bundle: neither a folder nor a readable .zip ({error})") from error


def _members(place: Path, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Return the archive's files by plain name; one folder around all of them is allowed.

    Raises:
        BundleError: A name that leads elsewhere, a name given twice, or too many entries.
    """
    infos = archive.infolist()
    if len(infos) > _MAX_ZIP_ENTRIES:
        raise BundleError(f"{place}: found {len(infos)} entries, expected at most {_MAX_ZIP_ENTRIES}")
    for info in infos:
        name = info.orig_filename  # filename is cut at a null byte and has its separators turned round
        parts = name.replace("\\", "/").split("/")
        if parts[0] == "" or ".." in parts or ":" in name or "\x00" in name:
            raise BundleError(f"{place}: the entry {name!r} leads out of the bundle; do not trust this file")
    files = [info for info in infos if not info.is_dir()]
    tops = {info.filename.split("/")[0] for info in files}
    prefix = f"{tops.pop()}/" if len(tops) == 1 and all("/" in info.filename for info in files) else ""
    members: dict[str, zipfile.ZipInfo] = {}
    for info in files:
        name = info.filename.removeprefix(prefix)
        if name in members:
            raise BundleError(f"{place}: found {name} twice; do not trust this file")
        members[name] = info
    return members
