"""The settings of ``sonoforge validate``, which ``--help`` lists without torch."""

from __future__ import annotations

from dataclasses import dataclass

from sonoforge.runtime.cli.options import group, option, repeated_option, runs_folder
from sonoforge.training.data.cache_settings import CacheSettings

EXAMPLES = """
sonoforge validate --external Rio:BUS-BRA/                     the shipped bundle on a folder with one folder a label
sonoforge validate --bundle RUN/bundle --external Rio:BUS-BRA/ --external Poland:BrEaST/
sonoforge validate --external Rio:BUS-BRA/ --robustness 300    also under shadow, haze, other gain, depth, blur, ...
sonoforge validate --external clinic:labels.csv                columns file, label and, if known, patient and device
sonoforge validate --external clinic:labels.csv --classes lesion=benign+malignant,healthy=normal
"""


@dataclass(frozen=True)
class Config:
    """Settings of ``validate``."""

    bundle: str = option("", help="folder or .zip of a classifier's bundle (default: the shipped one)", metavar="PATH")
    external: tuple[str, ...] = repeated_option(
        (),
        help="labelled images that the bundle's model never saw: a folder with one folder a label, or a table (.csv); "
        "may be given several times",
        metavar="NAME:PATH",
    )
    classes: tuple[str, ...] = option(
        (),
        help="what labels mean that are not named as the bundle's classes; one may cover several, joined by +",
        metavar="LABEL=CLASS,...",
    )
    robustness: int = option(
        0,
        help="also disturb this many images of each collection, in ten ways at three strengths: how far the AUC falls, "
        "and whether trust notices (0: none)",
        limits=(0, None),
    )
    storage: CacheSettings = group(CacheSettings(), title="decoded images")
    out: str = runs_folder()
