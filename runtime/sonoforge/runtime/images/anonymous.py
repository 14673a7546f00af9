"""Names for files that say nothing of the patient: scans are often named after one."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# 64 bits: among a million scans, two share a name by chance once in 37 million.
_DIGITS = 16


def pseudonyms(files: Sequence[str], contents: Mapping[str, bytes], seen: Counter[str]) -> dict[str, str]:
    """Name each file by its contents: the first 16 digits of their SHA-256, the same in every run.

    The hash of a name would tell whether a guessed name is right; the contents must be at hand to find theirs.  Files
    of the same contents are told apart by a number, ``1f0c...-2``.  A file that cannot be read is named by its place
    among the files, ``unread-3``.

    ``files`` has each once; ``contents`` of those that have been read already; ``seen`` counts how many had each name
    before, and these are added.
    """
    names: dict[str, str] = {}
    for place, file in enumerate(files, start=seen.total() + 1):
        digest = hashlib.sha256(contents[file]).hexdigest() if file in contents else _digest(file)
        name = digest[:_DIGITS] or f"unread-{place}"
        seen[name] += 1
        names[file] = name if seen[name] == 1 else f"{name}-{seen[name]}"
    return names


def _digest(file: str) -> str:
    """Return the SHA-256 of a file in hex, or nothing if it cannot be read."""
    try:
        if Path(file).is_file():  # a pipe is never opened
            with open(file, "rb") as stream:  # noqa: PTH123 - str and Path alike
                digest = hashlib.sha256()
                while block := stream.read(1 << 20):
                    digest.update(block)
                return digest.hexdigest()
    except (OSError, ValueError):
        pass
    return ""


def hide(entry: dict[str, Any], file: str, name: str) -> dict[str, Any]:
    """Put the pseudonym into a file's entry wherever its name stands: ``file`` and the message of an error."""
    hidden = {**entry, "file": name}
    if not entry["ok"]:
        message = entry["error"]["message"]
        for known in (file, " ".join(file.split()), Path(file).name):  # a message is one line, of single spaces
            if known:
                message = re.sub(rf"(?<!\w){re.escape(known)}(?!\w)", name, message)
        hidden["error"] = {**entry["error"], "message": message}
    return hidden
