"""Walk folders of images, and recognise what else is in them: masks, thumbnails, folders of the operating system."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, BinaryIO

from sonoforge.runtime.images.limits import MAX_PIXELS

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Of Synology and QNAP, Windows, macOS, Linux, and picture viewers.
_SYSTEM_FOLDERS = (
    *("@eadir", "#recycle", "@recycle", "#snapshot", "@recently-snapshot", "$recycle.bin", "recycler", "lost+found"),
    *("system volume information", "__macosx", "thumbs", "thumbnails", "_thumbs", "thumbnail cache", "lost.dir"),
)
_THUMBNAIL = re.compile(r"SYNO(PHOTO|FILE|VIDEO)_.*|Thumbs\.db|ehthumbs.*\.db|desktop\.ini|\._.*", re.IGNORECASE)
SYSTEM = "thumbnail or system file"
_WORDS = r"masks?|segmentations?|segmented|segs?|gts?|ground[ _-]?truths?|annotations?|labels?|outlines?"
_STRUCTURE = r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*"
_NAMED = re.compile(
    rf"(?P<image>.+)[ _.-](?P<word>{_WORDS})(?:[ _-](?P<structure>{_STRUCTURE}))?(?:[ _-]?\(?\d+\)?)?", re.IGNORECASE
)
_NAMED_FIRST = re.compile(rf"(?P<word>{_WORDS})[ _-](?P<image>.+)", re.IGNORECASE)
_MASK_FOLDER = re.compile(rf"(?:.*[ _.-])?(?:{_WORDS})", re.IGNORECASE)
_MOST_LEVELS = 8  # of a mask: the background and a few structures
_NEAR = 24  # levels of 255 by which JPEG moves a mask's pixels away from black and white
_BETWEEN = 0.1  # greatest share of other pixels, from smoothed edges; in scans they are more than half
_MODES = ("L", "LA", "P", "RGB", "RGBA", "I;16", "I")
_STEP = 4  # only each fourth row and column is looked at


def is_system_folder(name: str) -> bool:
    """Whether a folder is hidden, or belongs to the operating system or a picture viewer."""
    return name.startswith((".", "__")) or name.lower() in _SYSTEM_FOLDERS


def walk(
    folder: Path | str, recursive: bool = True, skipped: Counter[str] | None = None
) -> Iterator[tuple[str, list[str]]]:
    """Yield a folder, then those below it, each with the sorted names of its visible files.

    Links to folders are followed, at every depth, unless they lead back to a folder that contains them. ``skipped``
    counts what is skipped, by kind.
    """
    counts = Counter[str]() if skipped is None else skipped
    waiting: list[tuple[str, frozenset[str]]] = [(str(folder), frozenset((os.path.realpath(folder),)))]
    while waiting:
        parent, above = waiting.pop()
        names, inner = [], []
        try:
            with os.scandir(parent) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError:
            counts["folder that cannot be opened"] += 1
            continue
        for entry in found:
            path = os.path.join(parent, entry.name)  # noqa: PTH118 - thousands of files
            try:
                is_folder = entry.is_dir()
            except OSError:  # such as a link to itself
                is_folder = False
            if is_folder and is_system_folder(entry.name):
                counts[SYSTEM] += sum(len(files) for _, _, files in os.walk(path)) if entry.name[:1] != "." else 0
            elif is_folder:
                real = os.path.realpath(path)
                if not recursive:
                    continue
                if real in above:
                    counts["link that leads back"] += 1
                else:
                    inner.append((path, above | {real}))
            elif entry.is_symlink() and not os.path.exists(path):  # noqa: PTH110
                counts["broken link"] += 1
            elif _THUMBNAIL.fullmatch(entry.name):
                counts[SYSTEM] += not entry.name.startswith(".")
            elif not entry.name.startswith("."):
                names.append(entry.name)
        yield parent, names
        waiting += reversed(inner)


def mask_of(stem: str) -> tuple[str, str, bool] | None:
    """Parse the stem of a mask's file name: the stem of its image, its structure, and whether it has a documented form.

    These are ``NAME_mask``, ``NAME_mask_1`` and ``NAME_mask_myocardium``.  Return None if it is not a mask's name.
    """
    found = _NAMED.fullmatch(stem)
    if found:
        plain = found["word"].lower() == "mask" and stem[len(found["image"])] == "_"
        return found["image"], (found["structure"] or "").lower(), plain
    found = _NAMED_FIRST.fullmatch(stem)
    return (found["image"], "", False) if found else None


def is_mask_folder(name: str) -> bool:
    """Whether a folder has a name for masks."""
    return _MASK_FOLDER.fullmatch(name) is not None


def folded(path: PurePath) -> PurePath:
    """Return a path in lower case and one Unicode form, for comparison."""
    return type(path)(unicodedata.normalize("NFC", path.as_posix()).casefold())


def is_outline(file: Path | BinaryIO, few: bool = True) -> bool:
    """Whether a picture is black and white as masks are or, with ``few``, has few levels; False if it is unreadable."""
    import numpy as np  # noqa: PLC0415 - only for a file that seems to be a mask
    from PIL import Image  # noqa: PLC0415

    try:
        with Image.open(file) as image:
            if image.mode == "1":
                return True
            if image.width * image.height > MAX_PIXELS or image.mode not in _MODES:
                return False
            values = np.asarray(image.convert("RGB") if image.mode in ("P", "LA", "RGBA") else image)[::_STEP, ::_STEP]
    except Exception:
        return False
    if values.ndim == 3:
        if (values.max(axis=2).astype(int) - values.min(axis=2) > _NEAR).mean() > 0.01:
            return few and len(np.unique(values.reshape(-1, values.shape[2]), axis=0)) <= _MOST_LEVELS
        values = values[..., 0]
    if few and len(np.unique(values)) <= _MOST_LEVELS:
        return True
    return is_black_and_white(values)


def is_black_and_white(values: NDArray[Any]) -> bool:
    """Whether levels of 0 to 255, of any shape, are black and white except for smoothed edges, as in a mask."""
    white, between = (values >= 255 - _NEAR).mean(), ((values > _NEAR) & (values < 255 - _NEAR)).mean()
    return bool(values.max() <= 255 and between < min(white, _BETWEEN) and (values <= _NEAR).any())
