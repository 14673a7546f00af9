"""The settings of ``sonoforge run``, which ``--help`` lists without torch."""

from __future__ import annotations

from dataclasses import dataclass

from sonoforge.runtime.cli.options import option
from sonoforge.training.verbs.settings import crossval

EXAMPLES = """
sonoforge run                                          the whole way on simulated ultrasound, in minutes
sonoforge run --data BUSI/                             10 sealed folds of both arms, then a bundle and a report
sonoforge run --data BUSI/ --budget thesis --protocol thesis --device cuda
sonoforge run --data BUSI/ --resume                    continue a run that was interrupted
sonoforge run --data BUSI/ --out s3://bucket/runs      the run folder at a URL
"""


@dataclass(frozen=True)
class Config(crossval.ComparisonConfig):
    """Settings of ``run``: those of ``crossval``, and the final model."""

    final_arm: str = option("real", help="arm of the final model, trained on all images")
    name: str = option("", help="name of the model in the bundle (default: the data set's)")
