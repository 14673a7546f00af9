"""Print tables for people, as text."""

import io
import shutil
import sys
from collections.abc import Collection, Sequence

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from sonoforge.runtime.cli.answer import SCREEN
from sonoforge.training.data.collections.importing import KnownSet
from sonoforge.training.reports.blocks import Table

_BETWEEN = 3  # characters between columns
_NAMES = 14  # least for the columns that are wrapped


def table_text(table: Table, without: Collection[int] = ()) -> str:
    """Return a table of a page as text, without its caption and some of its columns."""
    head, rows = table.in_plain_text()
    kept = [place for place in range(len(head or rows[0])) if place not in without]
    figures = [n for n, place in enumerate(kept) if head and place and place not in {*table.words, *table.wide}]
    return plain_table(
        [head[place] for place in kept] if head else [], [[row[n] for n in kept] for row in rows], figures
    )


def plain_table(head: Sequence[str], rows: Sequence[Sequence[str]], figures: Collection[int] = ()) -> str:
    """Return a table as text, with figures flush right; if it is crowded, wrap other columns first."""
    columns = [*zip(*([head] if head else []), *rows, strict=True)]
    crowded = sum(max(map(len, column)) + _BETWEEN for column in columns) > SCREEN
    whole = {place: max(_longest_word(head[place]), *(len(row[place]) for row in rows)) for place in figures if rows}
    kept = crowded and sum(width + _BETWEEN for width in whole.values()) <= SCREEN - _NAMES
    drawn = RichTable(box=box.SIMPLE, pad_edge=False, padding=(0, 1), show_header=bool(head))
    for place, title in enumerate(head or rows[0]):
        drawn.add_column(
            Text(title),
            justify="right" if place in figures else "left",
            overflow="fold",
            min_width=min(_longest_word(title), 14),
            width=whole.get(place) if kept else None,
        )
    for row in rows:
        drawn.add_row(*map(Text, row))
    return as_text(drawn)


def _longest_word(title: str) -> int:
    return max(map(len, title.split()), default=1)


def as_text(content: RenderableType) -> str:
    """Render a rich table or a text without colour, in the width of stdout's terminal, if any.

    Names are never read as markup.
    """
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else SCREEN
    console = Console(file=io.StringIO(), width=width, highlight=False, markup=False, emoji=False)
    with console.capture() as captured:
        console.print(content)
    return captured.get().rstrip("\n")


def list_sets(sets: Sequence[KnownSet]) -> str:
    """Return a table of public sets as text."""
    title = "Public data sets (obtain them from their owners; nothing is downloaded here)"
    table = RichTable(title=title, show_lines=True)
    table.add_column("set", style="bold", no_wrap=True)
    table.add_column("what, how to obtain, terms", overflow="fold")
    for known in sets:
        terms = {"obtain": known.obtain, "licence": known.licence, "cite": known.citation, "reading": known.reader}
        table.add_row(known.name, "\n".join([known.content, *(f"{name}: {text}" for name, text in terms.items())]))
    return as_text(table)
