"""Wait for scans that appear in a folder, and take each when it is whole."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.inputs import kind_of

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""Between two looks: a file that did not change from one to the next is taken for whole."""

_State = tuple[int, int]  # size and time of the last change


def whole_files(folder: str, recursive: bool) -> Iterator[list[str]]:
    """Yield the image files that are new and whole, sorted, at each look; an empty list where there are none.

    Whole is what has the same size, above 0, and the same time of change as a look before.  A file that changes after
    it was yielded is yielded again: it is another scan, or its copying paused.  The folder must
    be there at first; one that goes away later is waited for.
    """
    if not Path(folder).is_dir():
        raise SonoforgeError(f"watch: found no folder {folder}, expected the one where the scans appear; make it first")
    before: dict[str, _State] = {}
    taken: dict[str, _State] = {}
    gone = False
    while True:
        now = _states(folder, recursive)
        if gone != (not Path(folder).is_dir()):
            gone = not gone
            log.warning("%s: %s", folder, "cannot be read now; waiting for it" if gone else "is back")
        ready = [path for path, state in now.items() if before.get(path) == state != taken.get(path) and state[0]]
        taken.update((path, now[path]) for path in ready)
        before = now
        yield [path for path in sorted(ready) if not _other(path)]
        time.sleep(LOOK_SECONDS)


def _states(folder: str, recursive: bool) -> dict[str, _State]:
    found = {}
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".")) if recursive else []
        for name in names:
            path = os.path.join(parent, name)  # noqa: PTH118 - thousands of files at every look
            try:
                about = os.stat(path)  # noqa: PTH116
            except OSError:  # gone since it was listed
                continue
            found[path] = (about.st_size, about.st_mtime_ns)
    return found


def _other(path: str) -> str:
    """Return the kind of a file that is no scan; empty for a scan."""
    parent, name = os.path.split(path)
    stems = {Path(beside).stem for beside in os.listdir(parent)} if "_mask" in name else set()  # noqa: PTH208
    return kind_of(parent, name, stems) if not name.startswith(".") else "hidden"
