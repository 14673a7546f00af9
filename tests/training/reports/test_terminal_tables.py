"""Tables of the terminal show names as they are."""

from __future__ import annotations

import math

import pytest
from rich.table import Table

from sonoforge.runtime.cli.answer import SCREEN
from sonoforge.training.reports.blocks import Table as PageTable
from sonoforge.training.reports.terminal import as_text, plain_table, table_text
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


def test_of_a_crowded_table_names_are_broken_and_figures_are_not() -> None:
    found = "85.0 [81.0, 89.0]"
    name = "a-name-of-one-word-that-is-longer-than-its-column"
    lines = plain_table(("accuracy, %", "sealed", "plain", "thesis"), [(name, *[found] * 3)], (1, 2, 3)).splitlines()
    assert max(map(len, lines)) <= SCREEN
    assert any(line.count(found) == 3 for line in lines)
    assert "".join(line.split()[0] for line in lines[3:] if line.strip()) == name


def test_a_share_of_no_images_is_not_a_number() -> None:
    nothing: Interval = {"value": math.nan, "low": 0.0, "high": 1.0}
    assert interval_text(nothing) == share_text(nothing) == "n/a"
