"""``sonoforge data import SET FOLDER OUT``: turn a published set, or another kind of folder, into one of classes."""

import shlex
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import numpy as np
import PIL

from sonoforge.runtime.cli.answer import say
from sonoforge.runtime.cli.options import Outcome
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.checked_file import sha256_of
from sonoforge.training.data.cache_settings import default_folder
from sonoforge.training.data.collections.importing import write_set
from sonoforge.training.data.readers import open_reader
from sonoforge.training.data.unpacking import unpacked
from sonoforge.training.verbs.settings.data import DataImportConfig


def main(config: DataImportConfig) -> Outcome:
    """Write the set and print what it holds.

    The result: ``folder``, ``images`` (of each class), ``left_out`` (message for each picture that was left out).
    """
    source, out = unpacked(Path(config.folder), default_folder()), Path(config.out)
    if not source.is_dir():
        raise SonoforgeError(f"{source}: no such folder, expected the unpacked set; see sonoforge data list")
    if out.resolve().is_relative_to(source.resolve()):
        raise SonoforgeError(f"{out}: lies inside {source}, expected a folder beside it; name another")
    reader = open_reader(config.set)
    reader.check(config.set, config.pictures)
    planned = reader.plan(source, config.pictures)
    if not planned:
        raise SonoforgeError(
            f"{source}: found no {reader.holds}, expected {config.set} as published; see sonoforge data list"
        )
    provenance = {
        "set": config.set,
        **asdict(config.pictures),
        "tables": {table.name: sha256_of(table) for table in reader.find_tables(source)},
        "versions": {"sonoforge": version("sonoforge"), "numpy": np.__version__, "pillow": PIL.__version__},
    }
    written = write_set(out, planned, provenance, resume=config.resume)
    counts = ", ".join(f"{number} {name}" for name, number in written.images.items())
    say("%s: %d pictures (%s)", out, sum(written.images.values()), counts)
    result = {"folder": config.out, "images": written.images, "left_out": written.left_out}
    column = ":CLASS" if config.pictures.multilabel else ""
    return Outcome(result, f"sonoforge data audit --data {shlex.quote(config.out)}{column}")
