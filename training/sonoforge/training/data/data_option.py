"""The option ``--data``: which images a verb reads.  Needs no more than ``--help`` does."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from sonoforge.runtime.cli.options import option, repeated_option

PHANTOM = ("phantom",)
"""In the place of folders: the built-in simulated set."""


def data_option() -> Any:
    """Declare ``--data`` of a verb: a field ``data: tuple[str, ...]``."""
    return repeated_option(
        PHANTOM,
        help="folder or zip of images, one folder per class; a table of files and labels; or phantom\n"
        "masks may lie among them as in BUSI; TABLE:COLUMN or FOLDER:COLUMN asks another column; collections.yaml may "
        "name several; repeat it to pool several",
        metavar="FOLDER",
    )


def groups_option() -> Any:
    """Declare ``--groups-from`` of a verb that splits by patients: a field ``groups_from: str``."""
    return option(
        "",
        help="where the patients are in the images' names: a pattern such as '{patient}_*' or '{patient}/*', or dicom\n"
        "dicom takes them from the headers; both are for images without a group in groups.csv; sonoforge data audit "
        "proposes one",
        metavar="PATTERN",
    )


def data_flags(data: Sequence[str]) -> str:
    """Return the flags that give the same data again."""
    return " ".join(f"--data {shlex.quote(each)}" for each in data)


def recorded_data(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what ``--data`` named, from a run's ``config.yaml``; empty where it is not recorded."""
    value = config.get("data") or ()
    return (value,) if isinstance(value, str) else tuple(value)
