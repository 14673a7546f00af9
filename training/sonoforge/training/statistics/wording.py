"""Put results into words: rounded numbers, with a true minus sign and unbroken from their units; lists of names."""

import math
from collections.abc import Sequence
from typing import TypeGuard

from sonoforge.training.statistics.results import ComparisonRow

MISSING = "n/a"
_NO_BREAK = "\u00a0"
_MINUS = "\u2212"


def is_number(value: float | None) -> TypeGuard[float]:
    """Whether there is a finite value to print."""
    return value is not None and math.isfinite(value)


def number(value: float | None, digits: int = 3, sign: str = "") -> str:
    """Print a number with ``digits`` decimals; ``sign="+"`` also marks positive ones."""
    if value is None or not math.isfinite(value):
        return MISSING
    return f"{value:{sign}.{digits}f}".replace("-", _MINUS)


def share(value: float | None, digits: int = 1) -> str:
    """Print a share of 0 to 1 as a percentage: ``85.6 %``."""
    return f"{number(100 * value, digits)}{_NO_BREAK}%" if value is not None and math.isfinite(value) else MISSING


def points(value: float | None, digits: int = 1, sign: str = "+") -> str:
    """Print a difference between shares in percentage points: ``+1.3``; ``sign=""`` omits the plus."""
    return number(None if value is None else 100 * value, digits, sign)


def tiny(value: float | None) -> str:
    """Print a small difference in scientific notation: ``2.4e-06``."""
    if value is None or not math.isfinite(value):
        return MISSING
    return f"{value:.1e}".replace("-", _MINUS) if value else "0"


def figure(value: float | None) -> str:
    """Print a number with three significant digits: ``0.0312``, ``58.1``, ``1234``."""
    if value is None or not math.isfinite(value):
        return MISSING
    text = f"{value:.0f}" if abs(value) >= 1000 else f"{value:#.3g}".rstrip(".")
    return "0" if value == 0 else text.replace("-", _MINUS)


def times(ratio: float | None) -> str:
    """Print a ratio: ``1.35``, ``5.7``, ``120``."""
    if ratio is None or not math.isfinite(ratio):
        return MISSING
    return f"{ratio:.2f}" if ratio < 2 else f"{ratio:.1f}" if ratio < 100 else f"{ratio:.0f}"


def bracket(low: str, high: str) -> str:
    """Join the printed ends of an interval: ``[82.9, 88.1]``."""
    return f"[{low},{_NO_BREAK}{high}]"


def with_ends(value: str, low: str, high: str) -> str:
    """Join a printed figure and the ends of its interval; a figure that is missing stands alone."""
    return value if value == MISSING else f"{value} {bracket(low, high)}"


def p_value(value: float) -> str:
    """Print a p value with its relation: ``= 0.012`` or ``< 0.001``."""
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"


def duration(seconds: float) -> str:
    """Print a time span: ``4.2 s``, ``3 min 05 s``, ``2 h 07 min``."""
    if seconds < 59.95:
        return f"{seconds:.1f}{_NO_BREAK}s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}{_NO_BREAK}min {whole % 60:02d}{_NO_BREAK}s"
    return f"{whole // 3600}{_NO_BREAK}h {whole % 3600 // 60:02d}{_NO_BREAK}min"


def size(count: int) -> str:
    """Print a number of bytes: ``812 B``, ``4.2 kB``, ``8.9 MB`` (powers of 1000)."""
    if count < 1000:
        return f"{count}{_NO_BREAK}B"
    return f"{count / 1e3:.1f}{_NO_BREAK}kB" if count < 999_950 else f"{count / 1e6:.1f}{_NO_BREAK}MB"


def counted(count: int, noun: str, plural: str = "") -> str:
    """Print a count with its noun: ``1 image``, ``780 images``."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}".replace(",", "\u202f")


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


def spread(counts: Sequence[int]) -> str:
    """Print counts as one number or as a range: ``20``, ``19 to 21``."""
    low, high = min(counts), max(counts)
    return str(low) if low == high else f"{low} to {high}"
