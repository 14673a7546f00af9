"""One self-contained page of the scans of ``sonoforge quality``, the worst first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sonoforge.runtime.images.quality_metrics import LESION, SCAN, flag_in_words
from sonoforge.runtime.images.repeats import in_words
from sonoforge.runtime.pages.cards import MOST_PICTURES, page, text

_STYLE = """
.card h2 { font-size: 1rem; }
.card img { max-width: 100%; height: auto; }
.card .out td, .card .out th { color: var(--no); font-weight: 650; }
"""


def severity(entry: Mapping[str, Any]) -> tuple[bool, float, int]:
    """Return a sort key, the worst first: unreadable files, then the farthest out of range, then most flags."""
    if not entry["ok"]:
        return False, 0.0, 0
    return True, -entry["scan"]["severity"], -len(entry["quality"]["flags"])


def quality_page(
    entries: Sequence[Mapping[str, Any]], pictures: Mapping[str, str], model: str, bands: Mapping[str, Sequence[float]]
) -> str:
    """Return the page of ``results`` of ``sonoforge quality``.

    ``pictures`` are ``data:`` addresses by file; ``model`` names the bundle of the bands, low and high.
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
    head = f"<p>The worst come first. {about}</p>"
    return page(title, _STYLE, head, f'<div class="cards">{cards}</div>{rest}', "quality")


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
    notes += [f"{sentence[0].upper()}{sentence[1:]}." for sentence in in_words(entry)]
    image = f'<img src="{picture}" alt="{name}" loading="lazy">' if picture else ""
    look = " open" if scan["flags"] or view else ""
    told = "".join(f'<p class="note">{text(note)}</p>' for note in notes)
    table = f"<table><tbody>{''.join(rows)}</tbody></table>"
    return f'<article class="card{look}"><h2>{name}</h2>{image}{table}{told}</article>'


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
