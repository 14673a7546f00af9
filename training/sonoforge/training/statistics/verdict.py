"""Judge a comparison by its interval and its test; `reports.conclusions` puts the answers into words."""

from collections.abc import Sequence
from typing import NamedTuple

from sonoforge.training.statistics.intervals import LEVEL
from sonoforge.training.statistics.results import ComparisonRow, Interval
from sonoforge.training.statistics.wording import is_number


class Verdict(NamedTuple):
    """What the run says about one question."""

    level: str  # `yes`, `no` or `open`
    headline: str  # the answer in one line
    sentences: tuple[str, ...]  # its grounds and its limits

    def __str__(self) -> str:
        """Return all of it in one line."""
        return f"{self.headline}: {' '.join(self.sentences)}"


def judge(comparison: ComparisonRow) -> str:
    """Judge a paired comparison: ``better`` or ``worse`` if interval and test agree, else ``undecided``."""
    change, p = comparison["accuracy_difference"], comparison["sign_flip_test"]["p_value"]
    if not (is_number(change["low"]) and is_number(change["high"])):
        return "undecided"
    if change["low"] > 0 and p < LEVEL:
        return "better"
    return "worse" if change["high"] < 0 and p < LEVEL else "undecided"


UNKNOWN = "of unknown origin"
"""Text in the source of initial weights with unknown training images."""


def flipped(comparison: ComparisonRow) -> ComparisonRow:
    """Turn ``second - first`` into ``first - second``."""

    def negative(interval: Interval) -> Interval:
        return Interval(value=-interval["value"], low=-interval["high"], high=-interval["low"])

    test = comparison["sign_flip_test"]
    return {
        **comparison,
        "first": comparison["second"],
        "second": comparison["first"],
        "accuracy_difference": negative(comparison["accuracy_difference"]),
        "macro_auc_difference": negative(comparison["macro_auc_difference"]),
        "sign_flip_test": {**test, "first_only": test["second_only"], "second_only": test["first_only"]},
    }


GAN, PLACEBO = ("gan", "gan-all"), ("duplicates", "duplicates-all")
"""Arms that ask whether generated images help, and arms that add as many copies of real ones."""


def gan_comparison(comparisons: Sequence[ComparisonRow]) -> ComparisonRow | None:
    """Return the comparison of an arm of `GAN` with its baseline, oriented ``gan - baseline``, or None."""
    for row in comparisons:
        if row["second"] in GAN and row["first"] not in PLACEBO:
            return row
    for row in comparisons:
        if row["first"] in GAN and row["second"] not in PLACEBO:
            return flipped(row)
    return None
