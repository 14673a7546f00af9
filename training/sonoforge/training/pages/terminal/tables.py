"""A page's tables in a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup
from rich import box
from rich.table import Table as RichTable
from rich.text import Text

from sonoforge.training.pages.blocks import Table
from sonoforge.training.terminal import as_text


def table_text(table: Table) -> str:
    """Return a table of a page as text, without its caption."""
    (heads,) = table.heads()
    rows = [[_plain(tag.text) for tag in row] for _, body in table.bodies() for _, row in body]
    return plain_table([_plain(tag.text) for tag in heads], rows)


def plain_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table as text."""
    drawn = RichTable(box=box.SIMPLE, pad_edge=False, padding=(0, 1))
    for title in head:
        drawn.add_column(Text(title))
    for row in rows:
        drawn.add_row(*map(Text, row))
    return as_text(drawn)


def _plain(cell: object) -> str:
    return Markup(cell).striptags() if isinstance(cell, Markup) else str(cell)  # noqa: S704 - to take the tags out
