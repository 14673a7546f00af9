"""The settings of ``sonoforge leakage``, which ``--help`` lists without torch."""

from __future__ import annotations

from dataclasses import dataclass

from sonoforge.runtime.cli.options import group, option
from sonoforge.training.verbs.settings.crossval import ComparisonConfig

EXAMPLES = """
sonoforge leakage --data BUSI/ --arms real             what near-duplicates across folds add
sonoforge leakage --data BUSI/ --arms real,gan --seeds 3   and what generators add that saw the test images
sonoforge leakage --data BUSI/ --resume                continue after an interruption
sonoforge leakage --from RUN/predictions.csv           the table again, from the predictions alone
"""


@dataclass(frozen=True)
class Config:
    """Settings of ``leakage``: those of ``crossval``, under every protocol."""

    comparison: ComparisonConfig = group(
        ComparisonConfig(),
        title="the comparison",
        without=("protocol", "real_shares", "choose", "inner_folds", "test_curves"),
    )
    from_predictions: str = option(
        "",
        help="predictions.csv of a run of leakage, or .csv.gz: print its table again and train nothing",
        metavar="FILE",
        aliases=("from",),
    )
