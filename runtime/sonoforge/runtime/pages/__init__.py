"""Write the pages of ``classify --html`` and ``quality --html``, and the style of every report."""

from __future__ import annotations

from pathlib import Path

STYLE = Path(__file__).with_name("style.css")
