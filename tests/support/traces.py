"""What a file tells of the machine that made it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from places import CHECKOUT

_TEXT = re.compile(rb"[\x20-\x7e]{16,}")
_PYTHON = re.compile(rb"\.pyc?\b")


def traces_of_this_machine(data: bytes) -> list[str]:
    """Paths of this machine, and texts that name a Python file.

    Megabytes of weights hold any three or four bytes by chance: shorter paths are left out, and ``.py`` counts within
    a text of 16 characters alone.
    """
    paths = [str(path) for path in (CHECKOUT, Path.home(), Path.cwd(), Path(np.__file__).parents[1])]
    words = [*(path for path in paths if len(path) >= 5), "site-packages", "/sonoforge/", "/tmp/"]
    python = [text.decode() for text in _TEXT.findall(data) if _PYTHON.search(text)]
    return [word for word in words if word.encode() in data] + python
