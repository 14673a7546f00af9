"""Tables of the terminal show names as they are."""

from __future__ import annotations

import math

import pytest
from rich.table import Table

from sonoforge.training.pages.blocks import Table as PageTable
from sonoforge.training.pages.terminal.tables import as_text, plain_table, table_text
from sonoforge.training.statistics.results import Interval, interval_text, share_text

NAMES = ("birads [a]", "[bold]", "[/red]", ":smiley: x", "[link=http://x]y", "a|b", "\\[c]")


@pytest.mark.parametrize("name", NAMES)
def test_brackets_are_no_markup(name: str) -> None:
    raw = Table(title=name)
    raw.add_column(name, no_wrap=True)
    raw.add_row(name)
    page = PageTable("classes", ("class",), [(name,)])
    for text in (as_text(raw), as_text(name), plain_table((name,), [(name,)]), table_text(page)):
        assert name in text
    assert as_text(raw).count(name) == 3


def test_a_share_of_no_images_is_not_a_number() -> None:
    nothing: Interval = {"value": math.nan, "low": 0.0, "high": 1.0}
    assert interval_text(nothing) == share_text(nothing) == "n/a"
