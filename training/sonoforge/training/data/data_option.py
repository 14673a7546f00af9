"""Declare the option ``--data``: which images a verb reads; importable on the base install."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from sonoforge.runtime.cli.options import option, repeated_option, setting

PHANTOM = ("phantom",)
"""Instead of folders: the built-in simulated set."""


def data_option() -> Any:
    """Declare ``--data`` for a verb: a field ``data: tuple[str, ...]``."""
    return repeated_option(
        PHANTOM,
        help="images: one folder per class, a .zip, or a table\n"
        "phantom: simulated scans; masks may lie among the images as in BUSI; a table has columns file and label; "
        "TABLE:COLUMN or FOLDER:COLUMN uses another column; collections.yaml may name several folders; repeat --data "
        "to pool several",
        metavar="FOLDER",
    )


def groups_option() -> Any:
    """Declare ``--groups-from`` for a verb that splits by patients: a field ``groups_from: str``."""
    return option(
        "",
        help="patients in file names: '{patient}_*', or dicom\n"
        "a pattern such as '{patient}_*' or '{patient}/*', or dicom to read the headers; for images without a group in "
        "groups.csv; sonoforge data audit proposes one",
        metavar="PATTERN",
    )


def phantom_images(number: int) -> Any:
    """Declare how many simulated images ``--data phantom`` has: a field ``images: int``."""
    return setting(number, "phantom.images", help="number of simulated images of --data phantom", limits=(30, None))


def data_flags(data: Sequence[str]) -> str:
    """Return the flags that name the same data."""
    return " ".join(f"--data {shlex.quote(each)}" for each in data)


def recorded_data(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a run's ``--data`` from its ``config.yaml``; empty if it is not recorded."""
    value = config.get("data") or ()
    return (value,) if isinstance(value, str) else tuple(value)
