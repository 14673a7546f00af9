"""A folder of overlay pictures: one for each file, none over another nor over a picture of another origin."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from sonoforge.runtime import atomic
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.explanations import overlay
from sonoforge.runtime.inference.result import Result

_OPENING = 4096  # bytes of a PNG that hold its text, which is written before the pixels


def targets(files: Sequence[str], folder: Path) -> dict[str, Path]:
    """Choose where each file's picture goes: ``STEM-overlay.png``, or ``STEM-2-overlay.png`` for a second of that stem.

    Args:
        files: The scans, each once.
        folder: For the pictures; made if it is not there.

    Raises:
        SonoforgeError: The folder cannot be made, or a picture's name belongs to a file that is no overlay.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SonoforgeError(f"{folder}: no folder can be made ({error.strerror}); choose another") from error
    chosen: dict[str, Path] = {}
    taken: set[str] = set()
    for file in files:
        stem, number = Path(file).stem, 1
        name = f"{stem}-overlay.png"
        while name.casefold() in taken:  # some file systems do not tell A from a
            number += 1
            name = f"{stem}-{number}-overlay.png"
        taken.add(name.casefold())
        chosen[file] = folder / name
        if chosen[file].exists() and not _is_overlay(chosen[file]):
            raise SonoforgeError(f"{chosen[file]}: exists and is no overlay of sonoforge; choose another folder")
    return chosen


def write(target: Path, scan: str | Image.Image, result: Result) -> None:
    """Draw the picture of an answer for a file or a frame and write it, whole or not at all.

    Raises:
        ImageError: The file cannot be read any more.
        SonoforgeError: The picture cannot be written.
    """
    atomic.write_bytes(target, overlay.png(overlay.draw(scan, result), result))


def _is_overlay(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return overlay.MARK.encode() in file.read(_OPENING)
    except OSError:
        return False
