"""The pictures that a DICOMDIR names, on a disc or in a folder (DICOM PS3.3, annex F; PS3.10, section 8)."""

from __future__ import annotations

import re
from pathlib import Path

from sonoforge.runtime.images.dicom.header import check_file, import_pydicom, one_line
from sonoforge.runtime.images.limits import ImageError

MAX_DIRECTORY_BYTES = 200_000_000
# Parts of a file's name hold eight capital letters, digits and underscores (PS3.10, section 8.5); other characters,
# which discs do have, are taken too, but nothing that leads anywhere else.
_PART = re.compile(r"[^/\\:\x00-\x1f]{1,255}")


def listed_images(path: Path | str) -> list[str]:
    """List the image files that a DICOMDIR names, in its order, each once; a file it names may be missing.

    Raises:
        ImageError: The directory is damaged, or names a file outside its folder.
    """
    with one_line(path):
        directory = Path(path)
        check_file(directory)
        if directory.stat().st_size > MAX_DIRECTORY_BYTES:
            raise ImageError(
                "too_large", f"{path}: more than {MAX_DIRECTORY_BYTES / 1e6:.0f} MB; name the images instead"
            )
        import_pydicom(path)
        from pydicom import dcmread  # noqa: PLC0415 - an extra

        records = dcmread(directory, specific_tags=["DirectoryRecordSequence"]).DirectoryRecordSequence
        found: dict[str, None] = {}
        for record in records:
            if record.get("DirectoryRecordType") != "IMAGE" or record.get("ReferencedFileID") is None:
                continue
            name = record.ReferencedFileID
            parts = [name] if isinstance(name, str) else [str(part) for part in name]
            found[str(_inside(directory, parts))] = None
        return list(found)


def _inside(directory: Path, parts: list[str]) -> Path:
    """Return the file beside the directory; refuse one that a part or a link leads out to."""
    folder = directory.parent
    file = folder.joinpath(*parts)
    plain = all(_PART.fullmatch(part) and part not in (".", "..") for part in parts)
    if not parts or not plain or not file.resolve().is_relative_to(folder.resolve()):
        # The name is not quoted: it is text of the file.
        raise ImageError("unreadable", f"{directory}: names a file outside its folder; name the images instead")
    return file
