"""Words for figures that do not exist: what is said instead of a number, and why."""

from __future__ import annotations

from sonoforge.training.statistics.results import ComparisonRow


def why_not_detectable(row: ComparisonRow) -> str:
    """Say why a comparison has no smallest detectable difference, as the end of a sentence."""
    test = row["sign_flip_test"]
    if test["first_only"] + test["second_only"] == 0:
        return "both arms classified exactly the same images correctly"
    return "too few groups of images tell the arms apart"
