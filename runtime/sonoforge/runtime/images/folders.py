"""What lies in a folder of images besides the images: masks, thumbnails, and folders of the operating system."""

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

# In lower case: of Synology and QNAP, Windows, macOS, Linux, and of picture viewers.
_SYSTEM_FOLDERS = frozenset(
    (
        *(
            "@eadir",
            "#recycle",
            "@recycle",
            "#snapshot",
            "@recently-snapshot",
            "$recycle.bin",
            "recycler",
            "lost+found",
        ),
        *("system volume information", "__macosx", "thumbs", "thumbnails", "_thumbs", "thumbnail cache", "lost.dir"),
    )
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
_NEAR = 24  # levels of 255 from black or white that JPEG leaves of a mask
_BETWEEN = 0.1  # greatest share of other pixels: smoothed edges; of scans they are more than half
_MODES = ("L", "LA", "P", "RGB", "RGBA", "I;16", "I")
_STEP = 4  # of the pixels that are looked at


def is_system_folder(name: str) -> bool:
    """Whether a folder is hidden, or holds what a system or a viewer made of the files beside it."""
    return name.startswith((".", "__")) or name.lower() in _SYSTEM_FOLDERS


def walk(
    folder: Path | str, recursive: bool = True, skipped: Counter[str] | None = None
) -> Iterator[tuple[str, list[str]]]:
    """Yield each folder below one, itself first, and the sorted names of its files, hidden ones left out.

    Links to folders are followed, at every depth, unless they lead back to a folder that they are in.

    Args:
        folder: Where to begin.
        recursive: Whether to look into folders in it.
        skipped: Counts what is passed over, by kind; hidden files are not counted.
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
            is_folder, path = _is_folder(entry), os.path.join(parent, entry.name)  # noqa: PTH118 - thousands of files
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


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # such as a link to itself
        return False


def mask_of(stem: str) -> tuple[str, str, bool] | None:
    """Return what the name of a mask says, or None for another name.

    The stem of its image, the structure that it shows (lower case, empty where it names none), and whether it is in the
    form ``NAME_mask``, ``NAME_mask_1`` or ``NAME_mask_myocardium`` that is documented.
    """
    found = _NAMED.fullmatch(stem)
    if found:
        plain = found["word"].lower() == "mask" and stem[len(found["image"])] == "_"
        return found["image"], (found["structure"] or "").lower(), plain
    found = _NAMED_FIRST.fullmatch(stem)
    return (found["image"], "", False) if found else None


def is_mask_folder(name: str) -> bool:
    """Whether a folder is called as one of masks."""
    return _MASK_FOLDER.fullmatch(name) is not None


def folded(path: PurePath) -> PurePath:
    """Return a path as it is compared: whatever its case and Unicode form."""
    return type(path)(unicodedata.normalize("NFC", path.as_posix()).casefold())


def is_outline(file: Path | BinaryIO, few: bool = True) -> bool:
    """Whether a picture is black and white, or has ``few`` levels, as masks do; False where it cannot be read."""
    import numpy as np  # noqa: PLC0415 - for a file that seems to be a mask only
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
    """Whether levels of 0 to 255, of any shape, are black and white but for smoothed edges, as a mask's are."""
    white, between = (values >= 255 - _NEAR).mean(), ((values > _NEAR) & (values < 255 - _NEAR)).mean()
    return bool(values.max() <= 255 and between < min(white, _BETWEEN) and (values <= _NEAR).any())
