"""The settings of ``sonoforge data cache``, which ``--help`` lists without torch."""

from __future__ import annotations

from dataclasses import dataclass

from sonoforge.runtime.cli.options import option

EXAMPLES = """
sonoforge data cache            where decoded images are kept, and how much space they take
sonoforge data cache --clear    remove them all; they are decoded again when they are needed
"""


@dataclass(frozen=True)
class Config:
    """Settings of ``data cache``."""

    cache: str = option("", help="the folder (default: SONOFORGE_CACHE or ~/.cache/sonoforge)", metavar="FOLDER")
    clear: bool = option(False, help="remove everything that is kept there")
