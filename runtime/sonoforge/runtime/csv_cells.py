"""CSV text, and cells of it that no spreadsheet takes for a formula, and back."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable

# A spreadsheet takes a cell that begins so for a formula, and runs it (OWASP, "CSV Injection").
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def defused(text: str) -> str:
    """Return a text for a CSV cell that no spreadsheet runs: an apostrophe goes before what would be a formula.

    So that `undefused` finds the text again, one also goes before a formula that has apostrophes already.
    """
    return "'" + text if _is_formula(text) else text


def undefused(cell: str) -> str:
    """Return the text that `defused` made a cell of; other cells unchanged."""
    return cell[1:] if cell.startswith("'") and _is_formula(cell) else cell


def csv_text(rows: Iterable[Iterable[object]]) -> str:
    """Return rows of cells as comma-separated text with plain line ends."""
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(rows)
    return stream.getvalue()


def _is_formula(text: str) -> bool:
    return text.lstrip("'").startswith(_FORMULA)
