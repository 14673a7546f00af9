"""Tables for people, as text."""

import io
import shutil
import sys
from collections.abc import Collection, Sequence

from markupsafe import Markup
from rich import box
from rich.console import Console, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from sonoforge.runtime.cli.answer import SCREEN
from sonoforge.training.pages.blocks import Table


def table_text(table: Table) -> str:
    """Return a table of a page as text, without its caption."""
    rows = [[_plain(tag.text) for tag in row] for _, body in table.bodies() for _, row in body]
    heads = [tag for head in table.heads() for tag in head]
    figures = [place for place, tag in enumerate(heads) if tag.attributes["class"] == "n"]
    return plain_table([_plain(tag.text) for tag in heads], rows, figures)


def plain_table(head: Sequence[str], rows: Sequence[Sequence[str]], figures: Collection[int] = ()) -> str:
    """Return a table as text, columns of figures flush right."""
    drawn = RichTable(box=box.SIMPLE, pad_edge=False, padding=(0, 1), show_header=bool(head))
    for place, title in enumerate(head or rows[0]):
        longest = max(map(len, title.split()), default=1)
        drawn.add_column(Text(title), justify="right" if place in figures else "left", min_width=min(longest, 14))
    for row in rows:
        drawn.add_row(*map(Text, row))
    return as_text(drawn)


def _plain(cell: object) -> str:
    return Markup(cell).striptags() if isinstance(cell, Markup) else str(cell)  # noqa: S704 - to take the tags out


def as_text(*renderables: RenderableType) -> str:
    """Render rich tables to text without colour, in the terminal's width where stdout is a terminal.

    No markup is read into names.
    """
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else SCREEN
    console = Console(file=io.StringIO(), width=width, highlight=False, markup=False, emoji=False)
    with console.capture() as captured:
        for renderable in renderables:
            console.print(renderable)
    return captured.get().rstrip("\n")
