"""Build the parts shared by the pages of ``classify --html`` and ``quality --html``, and the whole of the latter.

All text from a file, a bundle or a name is escaped, and a page loads and runs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from PIL import Image

from sonoforge.runtime import explanations, notice, pages
from sonoforge.runtime.images import decoding, inputs, repeats
from sonoforge.runtime.images.quality_metrics import LESION, SCAN, flag_in_words
from sonoforge.runtime.inference.result import Result

MOST_PICTURES = 300
"""Most scans shown with pictures: a page of some ten megabytes. Further scans are only listed."""

SIDE = 224
"""Pixels of the longer side; the network sees no more."""
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
@media print {
  @page { margin: 1cm; }
  .page h1 { font-size: 1.4rem; } .facts { margin: .8rem 0; } .facts dd { font-size: 1.1rem; }
  .page h2 { margin: 1rem 0 .4rem; padding-top: .4rem; }
  /* Two scans a row: no browser cuts an inline block. */
  .cards { display: block; margin-right: -.3cm; }
  .card { display: inline-block; vertical-align: top; width: calc(50% - .3cm); margin: 0 .3cm .3cm 0; padding: .2cm;
    background: none; }
  .card img { max-height: 4.2cm; }
  .card h2, .card h3 { font-size: 1rem; margin: 0; }
  .card .note, .card p { font-size: .8rem; line-height: 1.25; margin: .08cm 0 0; }
  .card table { font-size: .75rem; line-height: 1.2; }
}
"""


def page(title: str, style: str, head: str, body: str, verb: str) -> str:
    """Return a page of escaped parts: ``head`` goes below the title, ``body`` holds the cards.

    ``style`` adds to the styles of reports and cards; ``verb`` is the command that writes the page.
    """
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<title>{title}</title>
<style>{pages.STYLE.read_text(encoding="utf-8")}{_CARDS}{style}</style></head><body>
<div class="page"><header>
<h1>{title}</h1>
{head}
</header><main>
{body}
</main><footer><p>{notice.NOTICE} Written by sonoforge {verb}. This page loads nothing from elsewhere.</p>
</footer></div></body></html>
"""


def text(value: str) -> str:
    """Escape text from elsewhere."""
    return escape(inputs.printable(value))


def thumbnails(scan: Path | str | Image.Image, result: Result) -> list[str]:
    """Return the addresses of a scan and of the scan under its heat map."""
    image = decoding.as_image(scan)
    return [address(image, 2 * SIDE), address(explanations.painted(image, result))]


def map_alone(result: Result) -> list[str]:
    """Return the address of the heat map over plain grey, without the scan, whose pixels may show a name."""
    return [address(explanations.painted(Image.new("L", result.size, _GROUND), result))]


def address(image: Image.Image, side: int = SIDE) -> str:
    """Return the address of a small copy of a picture, without metadata."""
    small = image.copy() if image.mode == "L" else image.convert("RGB")
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    small.info.clear()  # no profile, date or comment of the file
    return pages.data_url(small, "jpeg")


# ---- the page of ``quality --html``

_QUALITY = """
.card h2 { font-size: 1rem; }
.card img { max-width: 100%; height: auto; }
.card .out td, .card .out th { color: var(--no); font-weight: 650; }
"""


def severity(entry: Mapping[str, Any]) -> tuple[bool, float, int]:
    """Return a sort key, worst first: unreadable files, then the farthest out of range, then most flags."""
    if not entry["ok"]:
        return False, 0.0, 0
    return True, -entry["scan"]["severity"], -len(entry["quality"]["flags"])


def quality_page(
    entries: Sequence[Mapping[str, Any]], pictures: Mapping[str, str], model: str, bands: Mapping[str, Sequence[float]]
) -> str:
    """Return the page of ``results`` of ``sonoforge quality``.

    ``pictures`` maps files to ``data:`` addresses; ``model`` is the bundle that the low and high bands come from.
    """
    ordered = sorted(entries, key=severity)
    cards = "".join(_card(entry, pictures.get(entry["file"], ""), bands) for entry in ordered[:MOST_PICTURES])
    rest = "".join(f"<li>{text(entry['file'])}</li>" for entry in ordered[MOST_PICTURES:])
    title = f"Image quality of {len(entries)} {'scan' if len(entries) == 1 else 'scans'}"
    rest = f"<h2>Further scans, better than these</h2><ul>{rest}</ul>" if rest else ""
    about = f"The bundle {text(model)} has no reference for these metrics, so none is flagged."
    if bands:
        about = (
            f"Bands hold 90 % of the training scans of {text(model)}; values beyond their band on the bad side are red."
        )
    readable = any(entry["ok"] for entry in entries)
    head = f"<p>The worst come first. {about}</p>" if readable else "<p>None could be read: the reasons are below.</p>"
    return page(title, _QUALITY, head, f'<div class="cards">{cards}</div>{rest}', "quality")


def _card(entry: Mapping[str, Any], picture: str, bands: Mapping[str, Sequence[float]]) -> str:
    name = text(entry["file"])
    if not entry["ok"]:
        return f'<article class="card no"><h2>{name}</h2><p>{text(entry["error"]["message"])}</p></article>'
    scan, view = entry["scan"], entry["quality"]["flags"]
    rows = []
    for metric, about in SCAN.items():
        band = bands.get(metric)
        out = any(flag.rpartition("_")[0] == metric for flag in scan["flags"])
        span = f"{band[0]:.3g} to {band[1]:.3g}" if band else "no reference"
        rows.append(
            f'<tr{" class=out" if out else ""}><th scope="row">{metric.replace("_", " ")}</th>'
            f'<td class="n">{_number(scan["metrics"][metric])}</td><td>{span}, {about.better} is better</td></tr>'
        )
    for metric in LESION if scan["lesion"] else ():
        rows.append(
            f'<tr><th scope="row">{LESION[metric].title}</th><td class="n">{_number(scan["lesion"][metric])}</td>'
            "<td>of the masked lesion</td></tr>"
        )
    notes = [*scan["advice"]]
    if view:
        notes.append(f"In the network's view: {', '.join(map(flag_in_words, view))}.")
    if entry["marks"]:
        notes.append(f"Burned in: {entry['marks']}.")
    notes += [f"{sentence[0].upper()}{sentence[1:]}." for sentence in repeats.in_words(entry)]
    image = f'<img src="{picture}" alt="{name}" loading="lazy">' if picture else ""
    look = " open" if scan["flags"] or view else ""
    told = "".join(f'<p class="note">{text(note)}</p>' for note in notes)
    table = f"<table><tbody>{''.join(rows)}</tbody></table>"
    return f'<article class="card{look}"><h2>{name}</h2>{image}{table}{told}</article>'


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
