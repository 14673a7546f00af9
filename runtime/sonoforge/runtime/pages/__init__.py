"""The page of ``sonoforge classify --html``, and the look that it shares with every report."""

from __future__ import annotations

from pathlib import Path

STYLE = Path(__file__).with_name("style.css")
