"""The settings of ``sonoforge data audit``, which ``--help`` lists without torch."""

from __future__ import annotations

from dataclasses import dataclass

from sonoforge.runtime.cli.options import group, option
from sonoforge.training.data.cache_settings import CacheSettings
from sonoforge.training.data.data_option import data_option

EXAMPLES = """
sonoforge data audit --data BUSI/                       counts, sizes, near-duplicates as a table
sonoforge data audit --data BUSI/ --html audit.html     the same, with the pictures of every cluster
sonoforge data audit --data BUSI/ --plant 30            also which kinds of copies are found in these images
sonoforge data audit --data BUSI/ --against BrEaST/     also images that are in both collections
sonoforge data audit --data BUSI/ --json > audit.json   the same for a program
"""


@dataclass(frozen=True)
class Config:
    """Settings of ``data audit``."""

    data: tuple[str, ...] = data_option()
    html: str = option("", help="also write a self-contained page with the clusters' pictures", metavar="FILE")
    plant: int = option(
        0, help="plant this many copies of each kind and report which are found (0: none)", limits=(0, 1000)
    )
    against: str = option("", help="folder of another collection: also find images that are in both", metavar="FOLDER")
    images: int = option(300, help="number of images of the phantom set", limits=(30, None))
    seed: int = option(0, help="seed of the phantom set", limits=(0, None))
    storage: CacheSettings = group(CacheSettings(), title="decoded images")
