"""A bundle as one ``.zip``: the same bytes for the same files, whenever and wherever it is packed."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

from sonoforge.runtime.atomic import write_bytes
from sonoforge.runtime.bundle.manifest import Manifest
from sonoforge.runtime.bundle.reader import open_bundle
from sonoforge.runtime.errors import SonoforgeError

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date that a zip can hold
_MODE = 0o644 << 16


def write_zip(folder: Path, target: Path) -> int:
    """Pack the manifest and the files that it lists, each checked by its hash, and nothing else.

    Names are sorted, dates and permissions fixed, and nothing is compressed: weights hardly shrink, and compressed
    bytes depend on the version of the library that made them.

    Args:
        folder: A bundle, of a classifier or of a generator.
        target: The ``.zip``; one that is there is replaced.

    Returns:
        Its size in bytes.

    Raises:
        SonoforgeError: The bundle is damaged, or the target is not a ``.zip``.
    """
    if target.suffix != ".zip":
        raise SonoforgeError(f"{target}: expected the name of a .zip file")
    bundle = open_bundle(folder, Manifest)
    contents = {name: bundle.read(name) for name in bundle.manifest.files}
    contents["manifest.json"] = (folder / "manifest.json").read_bytes()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(contents):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.create_system = 3  # Unix, on every machine
            entry.external_attr = _MODE
            archive.writestr(entry, contents[name])
    write_bytes(target, buffer.getvalue())
    return buffer.tell()
