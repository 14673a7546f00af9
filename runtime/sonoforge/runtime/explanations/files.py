"""A folder of overlay pictures: one for each file, none over another nor over a picture of another origin."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from sonoforge.runtime import atomic
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.explanations import overlay
from sonoforge.runtime.images.dicom.opening import first_bytes
from sonoforge.runtime.inference.result import Result

_OPENING = 4096  # bytes of a PNG that hold its text, which is written before the pixels


class OverlayFolder:
    """Where each file's picture goes: ``STEM-overlay.png``, or ``STEM-2-overlay.png`` for a second of that stem."""

    def __init__(self, folder: Path) -> None:
        """Make the folder if it is not there, and write into it on trial.

        Raises:
            SonoforgeError: It cannot be made or written, such as on a full disk.
        """
        self._folder = folder
        self._chosen: dict[str, Path] = {}
        self._taken: set[str] = set()
        atomic.prepare_folder(folder)

    def reserve(self, files: Sequence[str]) -> None:
        """Choose the names of more files' pictures, in this order; a file keeps the one it has.

        Raises:
            SonoforgeError: A picture's name belongs to a file that is no overlay.
        """
        for file in files:
            if file in self._chosen:
                continue
            stem, number = Path(file).stem, 1
            name = f"{stem}-overlay.png"
            while name.casefold() in self._taken:  # some file systems do not tell A from a
                number += 1
                name = f"{stem}-{number}-overlay.png"
            self._taken.add(name.casefold())
            target = self._chosen[file] = self._folder / name
            if target.exists() and overlay.MARK.encode() not in first_bytes(target, _OPENING):
                raise SonoforgeError(f"{target}: exists and is no overlay of sonoforge; choose another folder")

    def target(self, file: str) -> Path:
        """Return where the picture of a file goes."""
        return self._chosen[file]


def write(target: Path, scan: str | Image.Image, result: Result) -> None:
    """Draw the picture of an answer for a file or a frame and write it, whole or not at all.

    Raises:
        ImageError: The file cannot be read any more.
        SonoforgeError: The picture cannot be written.
    """
    atomic.write_bytes(target, overlay.png(overlay.draw(scan, result), result))
