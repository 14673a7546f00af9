"""Tables for people, as text."""

from __future__ import annotations

import io
import shutil
import sys

from rich.console import Console, RenderableType


def as_text(*renderables: RenderableType) -> str:
    """Render rich tables to text without colour, in the terminal's width where stdout is a terminal."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 110
    console = Console(file=io.StringIO(), width=width, highlight=False)
    with console.capture() as captured:
        for renderable in renderables:
            console.print(renderable)
    return captured.get().rstrip("\n")
