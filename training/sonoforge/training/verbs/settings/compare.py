"""The settings of ``sonoforge compare``, which ``--help`` lists without torch."""

from __future__ import annotations

from dataclasses import dataclass

from sonoforge.runtime.cli.options import argument, option

EXAMPLES = """
sonoforge compare runs/00003-crossval-BUSI runs/00004-crossval-BUSI
sonoforge compare plain:runs/00003-crossval-BUSI windows:runs/00004-crossval-BUSI outlines:runs/00005-crossval-BUSI
sonoforge compare before:old/predictions.csv after:new/predictions.csv --arm gan
sonoforge compare runs/00003-crossval-BUSI --arms real,gan,duplicates       the arms of one run, over all of its seeds

Differences are from the first run and arm, paired by image and seed.
"""


@dataclass(frozen=True)
class Config:
    """Settings of ``sonoforge compare``."""

    runs: tuple[str, ...] = argument(
        help="folders of crossval or run, or predictions.csv files; NAME:PATH gives one a name in the tables"
    )
    arms: tuple[str, ...] = option(
        (),
        help="comma-separated arms; of one run, to be compared with each other (default: the first arm of each run)",
        aliases=("arm",),
    )
