"""The settings of ``sonoforge data list``, which ``--help`` lists without torch."""

from __future__ import annotations

from dataclasses import dataclass

from sonoforge.runtime.cli.options import option

EXAMPLES = """
sonoforge data list                all known sets
sonoforge data list --name BUSI    one set
sonoforge data list --json         the same for a program
"""


@dataclass(frozen=True)
class Config:
    """Settings of ``data list``."""

    name: str = option("", help="show only the set of this name")
