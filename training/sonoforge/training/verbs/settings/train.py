"""The settings of ``sonoforge train``, which ``--help`` lists without torch."""

from __future__ import annotations

from dataclasses import dataclass

from sonoforge.runtime.cli.options import group, option, runs_folder
from sonoforge.training.classifier.options import ClassifierOptions
from sonoforge.training.data.cache_settings import CacheSettings
from sonoforge.training.data.data_option import data_option

EXAMPLES = """
sonoforge train --data BUSI/                           hold out a sixth of the groups, train on the rest
sonoforge train --data BUSI/ --arm classical --budget full
sonoforge train --data scans/ --weights backbone.safetensors --resume
"""


@dataclass(frozen=True)
class Config:
    """Settings of ``train``."""

    data: tuple[str, ...] = data_option()
    arm: str = option("real", help="what to train on, as --arms of crossval")
    holdout: float = option(
        0.16, help="share of the images, in whole groups, kept to judge and calibrate", limits=(0.05, 0.5)
    )
    classifier: ClassifierOptions = group(ClassifierOptions(), title="the classifier")
    seed: int = option(0, help="seed of split and training", limits=(0, None))
    images: int = option(240, help="number of phantom images, with --data phantom", limits=(30, None))
    device: str = option("auto", help="auto, cpu, cuda or cuda:N")
    storage: CacheSettings = group(CacheSettings(), title="decoded images")
    out: str = runs_folder()
    resume: bool = option(False, help="continue the newest run with the same settings")
