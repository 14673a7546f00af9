"""The settings of ``sonoforge checklists``, which ``--help`` lists without torch."""

from __future__ import annotations

from dataclasses import dataclass

from sonoforge.runtime.cli.options import argument

EXAMPLES = """
sonoforge checklists runs/00003-run-BUSI
sonoforge checklists runs/00004-crossval-BUSI --json

Writes checklists.html and checklists.md into the run folder.  What no run can know is left open, for the authors.
"""


@dataclass(frozen=True)
class Config:
    """Settings of ``sonoforge checklists``."""

    run: str = argument(help="folder of a finished run of sonoforge run or crossval")
