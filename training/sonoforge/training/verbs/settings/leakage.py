"""The settings of ``sonoforge leakage``, which ``--help`` lists without torch."""

from __future__ import annotations

from dataclasses import dataclass

from sonoforge.runtime.cli.options import group
from sonoforge.training.verbs.settings.crossval import ComparisonConfig

EXAMPLES = """
sonoforge leakage --data BUSI/ --arms real             what near-duplicates across folds add
sonoforge leakage --data BUSI/ --arms real,gan --seeds 3   and what generators add that saw the test images
sonoforge leakage --data BUSI/ --resume                continue after an interruption
"""


@dataclass(frozen=True)
class Config:
    """Settings of ``leakage``: those of ``crossval``, under every protocol."""

    comparison: ComparisonConfig = group(
        ComparisonConfig(),
        title="the comparison",
        without=("protocol", "real_shares", "choose", "inner_folds", "test_curves"),
    )
