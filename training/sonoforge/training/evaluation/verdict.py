"""Judge an evaluation's figures by the rules below; `reports.verdicts` puts the answers into words.

A metric's matched value (mean and 95 % interval over the draws) *stands* to its floor (real against real) as:

- ``within``: the mean is within the floor's interval or on its good side, indistinguishable from real images;
- ``unclear``: the mean is on the bad side, but the matched interval reaches the floor's;
- ``outside``: the whole matched interval is on the bad side.

Realistic: KID decides, as the only common distance that is unbiased for few images.  Diverse: recall and coverage
decide; likeness of pairs is the second voice.  ``no`` if every deciding metric is
outside, ``yes`` if no metric is unclear or outside, otherwise ``partly``.  Copied: the copy test decides (p below 0.05:
``yes``; more than expected by chance: ``partly``), then data-copying in bulk (``partly``); ``no`` covers only the kinds
of copies that it finds when they are planted.  With fewer than `FEW` images, finding nothing means ``unknown``.
"""

import math
from collections.abc import Sequence

from sonoforge.training.statistics.intervals import LEVEL
from sonoforge.training.statistics.results import Record

FEW = 50
"""Images per set; the 95 % interval for a share of 50 images is up to 28 points wide."""
COPYING_Z = -3.0
"""Limit of data-copying (Meehan 2020), a z-score; three, not two, because near-duplicates inflate it."""
DECIDING = {"realistic": ("kid",), "diverse": ("recall", "coverage")}
PAIRWISE = ("ms_ssim", "lpips_pairs")  # the second voice on diversity
_SIMILARITY = "ms_ssim"  # larger means more alike; of the other pairwise figures smaller does
_ORDER = ("within", "unclear", "outside")


def stands(row: Record) -> str:
    """Return how a metric stands to real images: ``within``, ``unclear``, ``outside``, or ``""`` without a floor."""
    value, floor = (row["matched"], row["matched_low"], row["matched_high"]), (row["floor_low"], row["floor_high"])
    if not all(number is not None and math.isfinite(number) for number in (*value, *floor)):
        return ""
    bad = {"low": _exceeds(value[0], floor[1]), "high": _exceeds(floor[0], value[0])}
    clear = {"low": _exceeds(value[1], floor[1]), "high": _exceeds(floor[0], value[2])}
    if clear.get(row["better"], any(clear.values())):
        return "outside"
    return "unclear" if bad.get(row["better"], any(bad.values())) else "within"


def _exceeds(first: float | None, second: float | None) -> bool:
    return first is not None and second is not None and first > second


def voices(metrics: Sequence[Record], names: tuple[str, ...]) -> list[Record]:
    """Return the metrics with these names that stand to real images."""
    return [row for row in metrics if row["name"] in names and stands(row)]


def answer(deciding: Sequence[str], second: Sequence[str], n: int | None) -> str:
    """Answer yes, no, partly or unknown from how the metrics of both voices stand, and the ``n`` images per set."""
    if not deciding:
        return "unknown"
    if set(deciding) == {"outside"}:
        return "no"
    if {*deciding, *second} != {"within"}:
        return "partly"
    return "yes" if n is not None and n >= FEW else "unknown"


def worst(rows: Sequence[Record]) -> Record:
    """Return the metric that is furthest on the bad side of its floor."""
    return max(rows, key=lambda row: (_ORDER.index(stands(row)), math.inf if row["ratio"] is None else row["ratio"]))


def full_name(row: Record) -> str:
    """Return a metric's title and feature space."""
    return f"{row['title']}, {row['space']}" if row["space"] else row["title"]


def more_alike(row: Record) -> bool:
    """Whether generated images differ less than real ones, if this pairwise figure is outside its floor."""
    return _exceeds(row["matched"], row["floor_high"]) is (row["name"] == _SIMILARITY)


def in_bulk(copies: Record) -> bool:
    """Whether generated images as a whole are too close to the training images."""
    return copies["data_copying_z"] is not None and copies["data_copying_z"] < COPYING_Z


def copied(copies: Record, finds: bool) -> str:
    """Name what a copy test shows: ``found``, ``chance``, ``bulk``, ``few`` images, ``blind`` or ``none``."""
    if copies["p_value"] < LEVEL:
        return "found"
    if copies["memorised"] > 0:
        return "chance"
    if in_bulk(copies):
        return "bulk"
    return "few" if copies["images"] < FEW else "none" if finds else "blind"
