"""What a folder of scans holds besides scans, by kind, so that nothing is left out without a word."""

from __future__ import annotations

import re
from collections.abc import Mapping

from sonoforge.runtime.images.dicom.opening import first_bytes

# Kind -> the suffixes of its files.
_KINDS = {
    "answer": (".sonoforge.json",),
    "text": (".txt", ".md", ".rtf", ".log"),
    "video": (".mp4", ".avi", ".mov", ".mkv", ".wmv", ".mpg", ".mpeg", ".m4v", ".webm"),
    "document": (".pdf", ".doc", ".docx", ".odt", ".ppt", ".pptx", ".odp"),
    "table": (".csv", ".tsv", ".jsonl", ".xls", ".xlsx", ".ods"),
    "web page": (".html", ".htm"),
    "archive": (".zip", ".tar", ".gz", ".7z", ".rar"),
    "data": (".json", ".xml", ".yaml", ".yml", ".npy", ".npz", ".mat"),
}
_UNCOUNTED = ("text", "data", "other")  # words without a plural

GENERATED = "generated image"
"""The kind of pictures that a network of sonoforge made."""

NON_IMAGE = "non-image DICOM object"
"""The kind of reports, presentation states and the like, which lie in a study beside its scans."""

# Every picture that sonoforge draws says so in its text: PNG as the keyword Software (PNG specification, section
# 11.3.3.2), GIF in a comment of JSON.  Simulated scans say something else, and are read as scans.
_SOFTWARE = re.compile(rb'Software\x00sonoforge([ a-z]*)|"Software": ?"sonoforge([ a-z]*)')
_GENERATES = " gan sample"
_OPENING = 4096  # bytes that hold a picture's text, which is written before the pixels


def kind_of_other(name: str) -> str:
    """Return the kind of a file that is no image, such as ``video``, by its suffix; ``other`` for an unknown one."""
    lower = name.lower()
    return next((kind for kind, suffixes in _KINDS.items() if lower.endswith(suffixes)), "other")


def made_by_sonoforge(path: str) -> str:
    """Return ``generated image``, or ``picture of sonoforge`` for an overlay or a chart; empty for all other files."""
    if not path.lower().endswith((".png", ".gif")):
        return ""
    found = _SOFTWARE.search(first_bytes(path, _OPENING))
    if found is None:
        return ""
    program = (found[1] or found[2] or b"").decode()
    return GENERATED if program.startswith(_GENERATES) else "picture of sonoforge"


def in_words(skipped: Mapping[str, int]) -> str:
    """Return ``3 files skipped: 2 text, 1 video``; empty where nothing was."""
    total = sum(skipped.values())
    if not total:
        return ""
    ordered = sorted(skipped.items(), key=lambda item: (-item[1], item[0]))
    kinds = ", ".join(f"{count} {_plural(kind, count)}" for kind, count in ordered if count)
    return f"{total} {_plural('file', total)} skipped: {kinds}"


def _plural(kind: str, count: int) -> str:
    if count == 1 or kind in _UNCOUNTED:
        return kind
    noun, of, rest = kind.partition(" of ")
    return f"{noun}s{of}{rest}"
