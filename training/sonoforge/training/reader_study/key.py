"""The sealed key of a reading sheet: which image is which, bound by its SHA-256 to the page that readers see.

The page shows the hash before anybody answers, and every file of answers repeats it.  So a key that is changed
afterwards, even in one entry, no longer fits.  A random number in the key keeps it from being guessed: without it, all
orders of a small sheet could be tried until one has the hash.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sonoforge.runtime.errors import SonoforgeError

KEY = "key.json"
KINDS = ("real", "generated")
_FORMAT = "sonoforge reading key 1"


@dataclass(frozen=True)
class Entry:
    """One image of the sheet."""

    number: int  # on the page, from 1
    kind: str  # one of `KINDS`
    class_name: str  # what it shows; empty where that is unknown
    source: str  # the set that it was taken from, as the user named it
    file: str  # in that set
    content: str  # `fingerprints.content_hash` of the original
    picture: str  # sha256 of the PNG file on the page


@dataclass(frozen=True)
class Key:
    """The whole key."""

    nonce: str  # 32 random bytes as hex digits
    classes: tuple[str, ...]  # answers of the second question; empty where it is not asked
    side: int  # of each image, pixels
    entries: tuple[Entry, ...]  # in the order of the page

    def encoded(self) -> bytes:
        """Return the content of the key's file."""
        return (json.dumps({"format": _FORMAT, **asdict(self)}, indent=2, ensure_ascii=False) + "\n").encode()


def commitment(content: bytes) -> str:
    """Return what the page shows of a key's file: its SHA-256, as ``sha256sum key.json`` prints it."""
    return hashlib.sha256(content).hexdigest()


def read_key(path: Path) -> tuple[Key, str]:
    """Read a key and the commitment of its file.

    Raises:
        SonoforgeError: It is missing or damaged.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SonoforgeError(
            f"{path}: cannot be read ({error.strerror}); expected the key that sonoforge evaluate --reading-sheet wrote"
        ) from error
    try:
        key = _parsed(json.loads(content))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise SonoforgeError(
            f"{path}: found no key of a reading sheet ({error}), expected the file as it was written; restore it"
        ) from error
    return key, commitment(content)


def _parsed(values: dict[str, Any]) -> Key:
    if values.pop("format") != _FORMAT:
        raise ValueError(f"its format is not {_FORMAT!r}")
    entries = tuple(Entry(**entry) for entry in values.pop("entries"))
    if [entry.number for entry in entries] != list(range(1, len(entries) + 1)):
        raise ValueError("its images are not numbered 1, 2, 3, ...")
    unknown = [entry.kind for entry in entries if entry.kind not in KINDS]
    if unknown:
        raise ValueError(f"an image is called {unknown[0]!r}")
    return Key(**{**values, "classes": tuple(values["classes"])}, entries=entries)
