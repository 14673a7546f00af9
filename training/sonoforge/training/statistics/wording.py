"""Words in sentences about results: names in a row, and what is said in place of a figure that does not exist."""

from __future__ import annotations

from collections.abc import Sequence

from sonoforge.training.statistics.results import ComparisonRow


def why_not_detectable(row: ComparisonRow) -> str:
    """Say why a comparison has no smallest detectable difference, as the end of a sentence."""
    test = row["sign_flip_test"]
    if test["first_only"] + test["second_only"] == 0:
        return "both arms classified exactly the same images correctly"
    return "too few groups of images tell the arms apart"


def listed(names: Sequence[str], limit: int = 8) -> str:
    """Join names as in a sentence; beyond ``limit``, count the rest."""
    if len(names) > limit:
        return f"{', '.join(names[:limit])} and {len(names) - limit} more"
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)
