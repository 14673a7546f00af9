"""No cell of a CSV file is a formula, and every text comes back as it was."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sonoforge.runtime.csv_tables import defused, undefused

STARTS = ("=", "+", "-", "@", "\t", "\r")  # as spreadsheets take them for formulas


@given(st.text() | st.text("'=+-@\t\rx", max_size=6))
def test_a_cell_is_no_formula_and_can_be_read_back(text: str) -> None:
    assert not defused(text).startswith(STARTS)
    assert undefused(defused(text)) == text


def test_what_is_no_formula_stays() -> None:
    for text in ("", "scan.png", "o'clock.png", "'quoted'", "a=b", "0.5"):
        assert defused(text) == undefused(text) == text
    assert defused("=1+1") == "'=1+1"
