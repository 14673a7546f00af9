"""The settings of ``sonoforge data phantom``, which ``--help`` lists without torch."""

from __future__ import annotations

from dataclasses import dataclass

from sonoforge.runtime.cli.options import argument, option
from sonoforge.training.phantom.composition import BALANCE, CLASSES, MARKED

EXAMPLES = """
sonoforge data phantom phantom-set
sonoforge data phantom phantom-set --images 1000 --seed 7 --size 256
sonoforge data phantom balanced-set --balance 1,1,1 --marks 0
"""


@dataclass(frozen=True)
class Config:
    """Settings of ``data phantom``."""

    out: str = argument(help="folder to write, new or empty")
    images: int = option(400, help="total number of pictures", limits=(1, None))
    seed: int = option(0, help="the same seed gives the same pixels", limits=(0, None))
    size: int = option(256, help="height and width, pixels over 40 mm", limits=(64, 1024))
    balance: tuple[float, ...] = option(BALANCE, help="weights of " + ", ".join(CLASSES), limits=(0, None))
    marks: float = option(MARKED, help="share of phantoms with burned-in calipers, ruler or text", limits=(0, 1))
