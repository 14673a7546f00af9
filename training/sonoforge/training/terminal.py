"""Tables for people, as text that can go through the log to stderr."""

from __future__ import annotations

import io
import shutil
import sys

from rich.console import Console, RenderableType


def as_text(*renderables: RenderableType) -> str:
    """Render rich tables to text, with colour and the terminal's width where stderr is a terminal."""
    terminal = sys.stderr.isatty()
    width = shutil.get_terminal_size().columns if terminal else 110
    console = Console(file=io.StringIO(), force_terminal=terminal, width=width)
    with console.capture() as captured:
        for renderable in renderables:
            console.print(renderable)
    return captured.get().rstrip("\n")
