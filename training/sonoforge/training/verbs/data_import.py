"""``sonoforge data import SET FOLDER OUT``: turn a published mammography set into a folder of classes."""

from __future__ import annotations

import shlex
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import PIL

from sonoforge.runtime.cli.answer import say
from sonoforge.runtime.cli.options import Outcome, argument, option
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.data.collections.importing import ImportSettings, file_digest, write_set
from sonoforge.training.data.collections.known_sets import COLLECTIONS

EXAMPLES = """
sonoforge data import mini-mias all-mias/ mias-films                        whole films, cropped to the breast
sonoforge data import mini-mias all-mias/ mias-regions --mode roi --masks   each abnormality, with its circle
sonoforge data import cbis-ddsm CBIS-DDSM/ cbis-regions --mode roi          each abnormality, cut from its film
sonoforge data import cbis-ddsm CBIS-DDSM/ cbis-regions --mode roi --resume
"""


@dataclass(frozen=True)
class Config:
    """Settings of ``data import``."""

    set: str = argument(help="which set: " + ", ".join(sorted(COLLECTIONS)), choices=tuple(sorted(COLLECTIONS)))
    folder: str = argument(help="folder with the unpacked set, see sonoforge data list")
    out: str = argument(help="folder to write, new or empty")
    mode: str = option("full", help="whole films, or each abnormality", choices=("full", "roi"))
    masks: bool = option(False, help="also write NAME_mask.png; pictures without a readable mask are left out")
    margin: float = option(1.5, help="side of a region over that of the abnormality", limits=(1, 10))
    longest: int = option(1024, help="side of the square pictures at most, pixels", limits=(64, 7000))
    resume: bool = option(False, help="continue an import that was interrupted, with the same settings")


def main(config: Config) -> Outcome:
    """Write the set and print what it holds.

    The result: ``folder``, ``images`` (of each class), ``left_out`` (message for each picture that was left out).
    """
    source, out = Path(config.folder), Path(config.out)
    if not source.is_dir():
        raise SonoforgeError(f"{source}: no such folder, expected the unpacked set; see sonoforge data list")
    if out.resolve().is_relative_to(source.resolve()):
        raise SonoforgeError(f"{out}: lies inside {source}, expected a folder beside it; name another")
    collection = COLLECTIONS[config.set]
    settings = ImportSettings(config.mode, config.masks, config.margin, config.longest)
    planned = collection.plan(source, settings)
    provenance = {
        "set": config.set,
        **asdict(settings),
        "tables": {table.name: file_digest(table) for table in collection.find_tables(source)},
        "versions": {"sonoforge": version("sonoforge"), "numpy": np.__version__, "pillow": PIL.__version__},
    }
    written = write_set(out, planned, provenance, resume=config.resume)
    counts = ", ".join(f"{number} {name}" for name, number in written.images.items())
    say("%s: %d pictures (%s)", out, sum(written.images.values()), counts)
    result = {"folder": config.out, "images": written.images, "left_out": written.left_out}
    return Outcome(result, f"sonoforge data audit --data {shlex.quote(config.out)}")
