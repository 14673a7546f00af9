"""One self-contained page of the scans of ``sonoforge quality``, the worst first.

Whatever comes from a file or a bundle is escaped, and the page loads and runs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from sonoforge.runtime.images.inputs import printable
from sonoforge.runtime.images.quality_table import LESION, SCAN
from sonoforge.runtime.images.repeats import in_words
from sonoforge.runtime.notice import NOTICE
from sonoforge.runtime.pages import STYLE

MOST_PICTURES = 300
"""Scans with pictures: a page of some megabytes.  The others are listed by name."""

_OWN_STYLE = """
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 25rem), 1fr)); gap: 1rem; }
.card { border: 1px solid var(--line); border-left: 4px solid var(--mark, var(--line)); border-radius: 0 6px 6px 0;
  padding: .8rem .9rem; background: var(--panel); break-inside: avoid; min-width: 0; }
.card.no { --mark: var(--no); } .card.open { --mark: var(--open); }
.card h3 { margin: 0 0 .5rem; font-size: 1rem; overflow-wrap: anywhere; }
.card img { max-width: 100%; height: auto; }
.card table { width: 100%; min-width: 0; font-size: .85rem; }
.card td, .card th { border: 0; padding: .1rem .5rem .1rem 0; min-width: 0; }
.card .out td, .card .out th { color: var(--no); font-weight: 650; }
.card p { margin: .5rem 0 0; font-size: .88rem; line-height: 1.45; overflow-wrap: anywhere; }
"""


def severity(entry: Mapping[str, Any]) -> tuple[bool, float, int]:
    """Return what sorts the worst first: unreadable files, then how far out of range, then the number of flags."""
    if not entry["ok"]:
        return False, 0.0, 0
    return True, -entry["scan"]["severity"], -len(entry["quality"]["flags"])


def quality_page(
    entries: Sequence[Mapping[str, Any]], pictures: Mapping[str, str], model: str, bands: Mapping[str, Sequence[float]]
) -> str:
    """Return the page.

    Args:
        entries: ``results`` of ``sonoforge quality``.
        pictures: ``data:`` address of a file's small picture, by file.
        model: Name and version of the bundle that the bands are from.
        bands: Low and high of each metric that has a band.
    """
    ordered = sorted(entries, key=severity)
    cards = "".join(_card(entry, pictures.get(entry["file"], ""), bands) for entry in ordered[:MOST_PICTURES])
    rest = "".join(f"<li>{_text(entry['file'])}</li>" for entry in ordered[MOST_PICTURES:])
    title = f"Image quality of {len(entries)} {'scan' if len(entries) == 1 else 'scans'}"
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
        'img-src data:">',
        f"<title>{title}</title>",
        f"<style>{STYLE.read_text(encoding='utf-8')}{_OWN_STYLE}</style></head><body>",
        f'<div class="page"><header><h1>{title}</h1>',
        f"<p>The worst come first. {_about(model, bands)}</p></header>",
        f'<main><div class="cards">{cards}</div>',
        f"<h2>Further scans, better than these</h2><ul>{rest}</ul>" if rest else "",
        f"</main><footer><p>{NOTICE} Written by sonoforge quality. This page loads nothing from elsewhere.</p>",
        "</footer></div></body></html>\n",
    ]
    return "\n".join(parts)


def _about(model: str, bands: Mapping[str, Sequence[float]]) -> str:
    if not bands:
        return f"The bundle {_text(model)} has no reference for these metrics, so none is flagged."
    return f"Bands hold 90 % of the training scans of {_text(model)}; what is beyond its band on the bad side is red."


def _card(entry: Mapping[str, Any], picture: str, bands: Mapping[str, Sequence[float]]) -> str:
    name = _text(entry["file"])
    if not entry["ok"]:
        return f'<article class="card no"><h3>{name}</h3><p>{_text(entry["error"]["message"])}</p></article>'
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
        notes.append(f"In the network's view: {', '.join(view)}.")
    if entry["marks"]:
        notes.append(f"Burned in: {entry['marks']}.")
    notes += [f"{sentence[0].upper()}{sentence[1:]}." for sentence in in_words(entry)]
    image = f'<img src="{picture}" alt="{name}" loading="lazy">' if picture else ""
    look = " open" if scan["flags"] or view else ""
    told = "".join(f"<p>{_text(note)}</p>" for note in notes)
    table = f"<table><tbody>{''.join(rows)}</tbody></table>"
    return f'<article class="card{look}"><h3>{name}</h3>{image}{table}{told}</article>'


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _text(value: str) -> str:
    return escape(printable(value))
