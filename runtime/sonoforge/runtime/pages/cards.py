"""Parts shared by the pages of ``classify --html`` and ``quality --html``: self-contained, one card for each scan.

All text from a file, a bundle or a name is escaped, and a page loads and runs nothing.
"""

from __future__ import annotations

import base64
import io
from html import escape
from pathlib import Path

from PIL import Image

from sonoforge.runtime.explanations import painted
from sonoforge.runtime.images.decoding import as_image
from sonoforge.runtime.images.inputs import printable
from sonoforge.runtime.inference.result import Result
from sonoforge.runtime.notice import NOTICE
from sonoforge.runtime.pages import STYLE

MOST_PICTURES = 300
"""Scans with pictures, some ten megabytes of a page.  Further scans are only listed."""

SIDE = 224
"""Pixels of the longer side; the network sees no more."""
_JPEG_QUALITY = 82
_GROUND = 96  # grey level under a map without its scan

_CARDS = """
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 27rem), 1fr)); gap: 1rem; }
.card { border: 1px solid var(--line); border-left: 4px solid var(--mark, var(--line)); border-radius: 0 6px 6px 0;
  padding: .8rem .9rem; background: var(--panel); break-inside: avoid; min-width: 0; }
.card.no { --mark: var(--no); } .card.open { --mark: var(--open); }
.card h2, .card h3 { margin: 0 0 .3rem; overflow-wrap: anywhere; }
.card table { width: 100%; min-width: 0; font-size: .86rem; }
.card td, .card th { border: 0; padding: .12rem .5rem .12rem 0; min-width: 0; }
.card .note { margin: .5rem 0 0; font-size: .88rem; line-height: 1.45; overflow-wrap: anywhere; }
"""


def page(title: str, style: str, head: str, body: str, verb: str) -> str:
    """Return a page of escaped parts: ``head`` comes below the title, ``body`` holds the cards.

    ``style`` is added to the style of all reports and of cards; ``verb`` is the command that writes the page.
    """
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<title>{title}</title>
<style>{STYLE.read_text(encoding="utf-8")}{_CARDS}{style}</style></head><body>
<div class="page"><header>
<h1>{title}</h1>
{head}
</header><main>
{body}
</main><footer><p>{NOTICE} Written by sonoforge {verb}. This page loads nothing from elsewhere.</p>
</footer></div></body></html>
"""


def text(value: str) -> str:
    """Escape text from elsewhere."""
    return escape(printable(value))


def thumbnails(scan: Path | str | Image.Image, result: Result) -> list[str]:
    """Return the addresses of a scan and of its heat map over it."""
    image = as_image(scan)
    return [address(image, 2 * SIDE), address(painted(image, result))]


def map_alone(result: Result) -> list[str]:
    """Return the address of the heat map over plain grey, without the scan, which may bear a name in its pixels."""
    return [address(painted(Image.new("L", result.size, _GROUND), result))]


def address(image: Image.Image, side: int = SIDE) -> str:
    """Return the address of a small copy of a picture, without metadata."""
    small = image.copy() if image.mode == "L" else image.convert("RGB")
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    small.info.clear()  # no profile, date or comment of the file
    stream = io.BytesIO()
    small.save(stream, "JPEG", quality=_JPEG_QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"
