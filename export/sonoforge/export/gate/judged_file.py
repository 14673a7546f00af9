"""Write one format's files into a new bundle and judge them: the same for classifiers and generators."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sonoforge.runtime import atomic
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.inference import model_files

_PATH = re.compile(r"(?:[A-Za-z]:)?(?:[\\/][^\\/\s:'\"()]+)+[\\/]?")


def write_and_judge(
    row: Mapping[str, Any],
    folder: Path,
    write: Callable[[], dict[str, bytes]] | None,
    judge: Callable[[Path], tuple[dict[str, Any], list[str]]],
    *,
    absent: str,
    asked: bool,
    about: Mapping[str, Any],
) -> dict[str, Any]:
    """Write the files of one format and judge them; those that may not stay are removed.

    A file that nothing on this machine can run is written only if it was asked for by name.

    Args:
        row: ``format`` and ``file``, and what else is known beforehand.
        folder: The new bundle.
        write: Makes the files by name; None for one that is there already, and stays.
        judge: Takes the file's place; returns figures, and what keeps it from passing.
        absent: Why it cannot be written at all; empty if it can.
        asked: Whether it was asked for by name.
        about: Enters the row once the file is there.

    Returns:
        The row with ``status`` (``passed``, ``failed``, ``not checked``: written, but nothing on this machine runs it,
        or ``not written``), ``reason`` where there is one, ``bytes``, and the figures.
    """
    result, name = dict(row), row["format"]
    unchecked = model_files.missing(name)
    if unchecked and not asked and not absent:
        absent = f"{unchecked}; --formats {name} writes it unchecked"
    if absent:
        return {**result, "status": "not written", "reason": absent}
    contents: dict[str, bytes] = {}
    try:
        if write is not None:
            contents = write()
        for file, data in contents.items():
            atomic.write_bytes(folder / file, data)
        place = folder / row["file"]
        result |= {"bytes": place.stat().st_size, **about}
        if unchecked:
            return {**result, "status": "not checked", "reason": unchecked}
        figures, found = judge(place)
        result |= figures
    except Exception as error:  # writers are other people's programs: whatever one raises, the other formats go on
        kind = "" if isinstance(error, SonoforgeError) else f"{type(error).__name__}: "
        found = [kind + " ".join(str(error).split()).replace(f"{folder}/", "")[:300]]
    if not found:
        return {**result, "status": "passed"}
    for file in contents:
        (folder / file).unlink(missing_ok=True)
    return {**result, "status": "failed", "reason": "; ".join(found)}


def without_folders(text: str) -> str:
    """Cut absolute paths out of what goes into a bundle: they name the machine and its user."""
    return _PATH.sub("...", text)
