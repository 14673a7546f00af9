"""Read published sets and other kinds of folders, for ``data import``.

To add one, add one file here: ``cbis_ddsm.py`` is the reader ``cbis-ddsm``, and ends in a `Reader` called ``READER``.
"""

from __future__ import annotations

import importlib
import pkgutil
import shlex
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from sonoforge.runtime.errors import SonoforgeError

if TYPE_CHECKING:
    from sonoforge.training.data.collections.importing import Reader


def reader_names() -> tuple[str, ...]:
    """Return the names of all readers, from their files alone."""
    return tuple(sorted(file.name.replace("_", "-") for file in pkgutil.iter_modules(__path__)))


def open_reader(name: str) -> Reader:
    """Import a reader by its name."""
    reader: Reader = importlib.import_module(f"{__name__}.{name.replace('-', '_')}").READER
    return reader


def refuse_other_layouts(root: Path, stems: Collection[str]) -> None:
    """Refuse a folder that must be imported first, by the readers' signs, and give the command.

    ``stems`` are its images' names without suffix, which label files of single images share.
    """
    for name in reader_names():
        reader = open_reader(name)
        for sign in (file for pattern in reader.signs for file in sorted(root.glob(pattern))):
            if sign.suffix == ".json" or sign.stem in stems:
                raise SonoforgeError(
                    f"{root}: holds {reader.holds} ({sign.relative_to(root)}) instead of a folder for each class; "
                    f"convert it with {import_command(name, root)}"
                )


def import_command(name: str, root: Path) -> str:
    """Return the command that writes a folder's pictures to class folders."""
    return f"sonoforge data import {name} {shlex.quote(str(root))} OUT"
