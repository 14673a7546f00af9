"""Define the content of a comparison's ``results.json``, and the names of the protocols."""

import math
from typing import Any, TypedDict

LEAVE_ONE_OUT = "leave-one-collection-out"
OFFICIAL = "official"
"""One fold: the test images chosen by a set's authors."""
PROTOCOLS = ("sealed", "plain", "thesis", "single", LEAVE_ONE_OUT, OFFICIAL)
"""Ways to split images into folds, see `data.splits.make_plan`."""
ONE_SPLIT = ("single", OFFICIAL)
"""Protocols with one fold: the other images are never tested."""
SEALED = ("sealed", LEAVE_ONE_OUT, OFFICIAL)
"""Protocols where no training sees anything of its test images."""

Record = dict[str, Any]
"""Part of a ``results.json``; the code that makes it documents the keys."""


class Interval(TypedDict):
    """An estimate and its 95 % confidence interval."""

    value: float
    low: float
    high: float


def interval_text(figure: Interval, form: str = ".3f") -> str:
    """Return an estimate with its interval, each number in this format: ``0.912 [0.874, 0.950]``; n/a without one."""
    if math.isnan(figure["value"]):  # a share of no images
        return "n/a"
    return f"{figure['value']:{form}} [{figure['low']:{form}}, {figure['high']:{form}}]"


def share_text(figure: Interval) -> str:
    """Return a share with its interval: ``91.2% [87.4%, 95.0%]``."""
    return interval_text(figure, ".1%")


class ComparisonRow(TypedDict):
    """Two arms on the same images; differences are ``second - first``."""

    first: str
    second: str
    seed: int
    accuracy_difference: Interval
    macro_auc_difference: Interval
    sign_flip_test: Record  # `first_only`, `second_only`: images that one alone got right; `p_value`, by group
    minimum_detectable_difference: float | None  # NaN, in JSON None, where it cannot be computed
    one_against_rest: dict[str, Record]  # by class
