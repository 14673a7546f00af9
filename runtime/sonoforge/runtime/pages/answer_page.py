"""Write one self-contained page of a batch's answers, the most suspicious first."""

from __future__ import annotations

import heapq
import os
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sonoforge.runtime import atomic
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.inference.decision import answers_in_words, figures_in_words, in_words, percent
from sonoforge.runtime.inference.verdict import STATES, UNUSABLE, notes_on, verdict_of
from sonoforge.runtime.notice import GUESSES, NOTICE, trained_on_in_words
from sonoforge.runtime.pages.cards import MOST_PICTURES, page, text

if TYPE_CHECKING:
    from sonoforge.runtime.inference.classifier import Classifier

_STYLE = """
/* A clear answer is not good news: no green. Nor is it a link: no blue. */
.card.clear { --mark: var(--ink); }
.card h3 { color: var(--mark); font-size: 1.1rem; }
.card .file { margin: 0 0 .6rem; font-size: .85rem; color: var(--soft); overflow-wrap: anywhere; }
.card img { max-height: 18rem; width: auto; }
.card .advice { margin: .6rem 0; overflow-wrap: anywhere; }
.card .behind { font-size: .8rem; color: var(--soft); }
.card details { margin: .5rem 0; font-size: .88rem; }
.card details img { margin-top: .4rem; }
.card .printed { display: none; }
.series { grid-column: 1 / -1; border: 1px solid var(--line); border-radius: 6px; padding: 0 .9rem .9rem; }
.series h3 { margin: .7rem 0 .2rem; }
.banner { border: 2px solid var(--no); border-radius: 6px; padding: .6rem .9rem; font-weight: 600; margin: 1.1rem 0;
  max-width: none; }
.facts { grid-template-columns: repeat(auto-fit, minmax(6.5rem, 1fr)); }
.all table { font-size: .85rem; } .all th { overflow-wrap: anywhere; }
@media print, (min-width: 64rem) { .all td + td + td { white-space: nowrap; } }
.all td:nth-child(n + 4):last-child { font-size: .8rem; color: var(--soft); }
@media screen and (max-width: 30rem) { .all th:nth-child(n + 4), .all td:nth-child(n + 4) { display: none; } }
.all .no { color: var(--no); } .all .open { color: var(--open); } .all .clear { font-weight: 600; }
@media print {
  .all table { font-size: .8rem; width: 100%; } .all th, .all td { padding: .12rem .4rem .12rem 0; }
  .page p { max-width: none; }
  .card img { float: left; max-width: 36%; margin: .1cm .25cm .1cm 0; }
  .card .file { margin: 0; }
  .card details:not([open]) { display: none; }
  .card .printed { display: block; clear: left; font-size: .65rem; color: var(--soft); }
  .series { display: block; border: 0; padding: 0; } .series > p { break-after: avoid; }
  footer { display: none; }
}
"""


def _look(state: str) -> str:
    return "no" if state in UNUSABLE else "clear" if state == "clear" else "open"


class AnswerPage:
    """Gathers answers and writes the page. Several threads may add pictures."""

    def __init__(self, path: str, classifier: Classifier, anonymous: bool) -> None:
        """Check that the page can be written; if ``anonymous``, it shows no pixel of a scan."""
        self.path = Path(path)
        manifest = classifier.bundle.manifest
        model, self._anonymous = classifier.model, anonymous
        self._model_name = f"Model {model['name']} {model['version']}, SHA-256 {model['sha256'][:16]}"
        self._guesses = manifest.guesses
        self._about = in_words(manifest, classifier.clinic)
        self._questions = [question.name for question in manifest.questions]
        self._suspicious = manifest.questions[-1].positive if manifest.questions else ()
        self._entries: list[tuple[_Order, Mapping[str, Any]]] = []
        self._pictures: dict[str, list[str]] = {}
        self._folder = ""
        self._places: dict[int, int] = {}  # by identity: a file may be answered twice
        self._shown: list[tuple[int, float, str]] = []  # heap, the last in order first
        self._lock = threading.Lock()
        if self.path.is_dir():
            raise SonoforgeError(f"{self.path}: is a folder; choose another file name")
        atomic.prepare_folder(self.path.parent)

    def picture(self, name: str, addresses: list[str]) -> None:
        """Keep the pictures of a file until its answer comes."""
        with self._lock:
            self._pictures[name] = addresses

    def add(self, entry: Mapping[str, Any]) -> None:
        """Add an answer; only the first `MOST_PICTURES` in order keep their pictures."""
        order = self._order(entry)
        self._entries.append((order, entry))
        with self._lock:
            heapq.heappush(self._shown, (-order[0], -order[1], order[2]))
            if len(self._shown) > MOST_PICTURES:
                self._pictures.pop(heapq.heappop(self._shown)[2], None)

    def write(self, summary: Mapping[str, Any]) -> None:
        """Write the page."""
        atomic.write_text(self.path, self._page(summary))

    def _order(self, entry: Mapping[str, Any]) -> _Order:
        """Order answers with the most suspicious, or else the least certain, first, and unusable ones last."""
        state = verdict_of(entry).state
        if state in UNUSABLE:
            return 1 + [*STATES].index(state), 0.0, str(entry["file"])
        probabilities = entry["probabilities"]
        if self._suspicious:
            return 0, -sum(float(probabilities[name]) for name in self._suspicious), str(entry["file"])
        return 0, float(max(probabilities.values())), str(entry["file"])

    def _page(self, summary: Mapping[str, Any]) -> str:
        ordered = [entry for _, entry in sorted(self._entries, key=lambda pair: pair[0])]
        cards = ordered[:MOST_PICTURES]
        together: dict[str, list[Mapping[str, Any]]] = {}  # neighbouring frames stay together
        for entry in cards:
            together.setdefault(entry.get("series", entry["file"]), []).append(entry)
        series = list(together.values())
        usable = [frames for frames in series if verdict_of(frames[0]).state not in UNUSABLE]
        others = series[len(usable) :]
        order = f"Most probably {' or '.join(self._suspicious)}" if self._suspicious else "Least sure"
        folders = {os.path.dirname(entry["file"]) for entry in ordered}  # noqa: PTH120 - thousands of names
        self._folder = folders.pop() if len(folders) == 1 else ""
        where = f"Folder {self._folder}. " if self._folder else ""
        about = [
            f"{order} first, scans without a usable answer last. "
            "Where nothing is said about trust, quality or marks, no fault was found.",
            " ".join(self._about[:-1]),
            self._about[-1],
        ]
        title = f"Answers for {_counted(summary['files'], 'scan')}"
        if not summary["ok"]:
            title = f"No answer for {_counted(summary['files'], 'file')}"
            about = ["None could be read: the reasons are below." if ordered else "None was given."]
        if self._anonymous:
            about.append(
                "Files are named by a hash of their contents, and scans, which may bear a name, are not shown."
            )
        trained = [trained_on_in_words(summary["trained_on"], summary["ok"])] * bool(summary["trained_on"])
        head = f"""<p class="meta">{text(where + self._model_name)}</p>
<p class="banner">{" ".join([NOTICE, "No answer here is a diagnosis.", *trained])}</p>
{_facts(ordered, summary)}
{"".join(f"<p>{text(sentences)}</p>" for sentences in about)}"""
        self._places = {id(entry): place for place, entry in enumerate(ordered)}
        body = self._list(ordered) if summary["ok"] or len(ordered) > len(cards) else ""
        for heading, some in (("Answers", usable), ("Without an answer: a person must read these", others)):
            if some:
                parts = "".join(map(self._series, some))
                body += f'<section><h2>{heading}</h2><div class="cards">{parts}</div></section>'
        if len(ordered) > len(cards):
            body += f"<p>The list has {_counted(len(ordered) - len(cards), 'answer')} more.</p>"
        return page(title, _STYLE, head, body, "classify")

    def _name(self, entry: Mapping[str, Any]) -> str:
        """Return a file's name without the folder that all share."""
        return str(entry["file"]).removeprefix(self._folder).lstrip(os.sep) if self._folder else str(entry["file"])

    def _list(self, entries: Sequence[Mapping[str, Any]]) -> str:
        """Return all answers as a table, each with a link to its card."""
        titles, rows = ["file", "answer"], []
        if any(verdict_of(entry).state not in UNUSABLE for entry in entries):
            titles += ["cannot be ruled out", *(f"{name}?" for name in self._questions), "most probable"]
        for place, entry in enumerate(entries):
            judged = verdict_of(entry)
            name = text(self._name(entry))
            named = f'<a href="#scan{place}">{name}</a>' if place < MOST_PICTURES else name
            heading, figures = judged.heading, [""] * (len(titles) - 2)
            if judged.state not in UNUSABLE:
                heading, left = heading.partition(":")[0], " or ".join(entry["set"])
                likeliest, share = max(entry["probabilities"].items(), key=lambda pair: pair[1])
                said = answers_in_words(entry["findings"]).values()
                figures = [left[0].upper() + left[1:], *said, f"{likeliest} {percent(share)}"]
            cells = "".join(f"<td>{text(figure)}</td>" for figure in figures).replace(" %", "&nbsp;%")
            answer = f'<td class="{_look(judged.state)}">{text(heading)}</td>'
            rows.append(f'<tr><th scope="row">{named}</th>{answer}{cells}</tr>')
        heads = "".join(f'<th scope="col">{text(title)}</th>' for title in titles)
        return (
            '<div class="scroll tall all" tabindex="0" role="region" aria-label="All answers"><table>'
            f"<thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
        )

    def _series(self, entries: Sequence[Mapping[str, Any]]) -> str:
        """Return the cards of neighbouring frames under one heading, or the card of a single scan."""
        cards = "".join(map(self._card, entries))
        if len(entries) == 1:
            return cards
        return (
            f'<section class="series"><h3>{len(entries)} neighbouring frames</h3>'
            "<p>They look alike except for some movement: most likely one sweep of one patient.</p>"
            f'<div class="cards">{cards}</div></section>'
        )

    def _card(self, entry: Mapping[str, Any]) -> str:
        judged, name = verdict_of(entry), self._name(entry)
        pictures = self._pictures.get(str(entry["file"]), [])
        scan, maps = ("", pictures) if self._anonymous else (pictures[0] if pictures else "", pictures[1:])
        parts = [
            f'<article class="card {_look(judged.state)}" id="scan{self._places[id(entry)]}">'
            f'<h3>{text(judged.heading)}</h3><p class="file">{text(name)}</p>',
            f'<img src="{scan}" alt="{text(name)}, as given" loading="lazy">' if scan else "",
            f'<p class="advice">{text(judged.advice)}</p>',
        ]
        if entry["ok"]:
            parts += self._figures(entry, judged.state in UNUSABLE)
            most_probable = max(entry["probabilities"].items(), key=lambda pair: pair[1])[0]
            parts += [
                f"<details><summary>Where the evidence for {text(most_probable)} lies</summary>"
                f'<img src="{address}" alt="{text(name)}, evidence in colour" loading="lazy"></details>'
                for address in maps
            ]
        parts.append(f'<p class="printed">{NOTICE} {text(self._model_name)}</p></article>')
        return "".join(parts)

    def _figures(self, entry: Mapping[str, Any], unusable: bool) -> list[str]:
        """Return what is behind the verdict, and notes; fold the former if it means nothing."""
        figures = [_note(*pair).replace(" %", "&nbsp;%") for pair in figures_in_words(entry).items()]
        figures[-1] = figures[-1].replace('"note"', '"note behind"')
        notes = [_note(*pair) for pair in notes_on(entry)]
        notes += [_note("Careful", entry["marks"]["note"])] * bool(entry["marks"]["note"])
        notes += [_note("Not written", message) for message in entry.get("unwritten", ())]
        notes[:0] = [_note("Careful", GUESSES)] * self._guesses
        if unusable:
            folded = f"<summary>Figures that mean nothing here</summary>{''.join(figures)}"
            return [*notes, f"<details>{folded}</details>"]
        return [*figures, *notes]


_Order = tuple[int, float, str]


def _facts(entries: Sequence[Mapping[str, Any]], summary: Mapping[str, Any]) -> str:
    states = Counter(verdict_of(entry).state for entry in entries)
    figures = {state: states[state] for state in reversed(STATES) if states[state]}
    skipped = sum(summary.get("skipped", {}).values())
    figures |= {"files skipped": skipped} if skipped else {}
    cells = "".join(f"<div><dt>{name}</dt><dd>{count}</dd></div>" for name, count in figures.items())
    return f'<dl class="facts">{cells}</dl>' if cells else ""


def _note(title: str, said: str) -> str:
    return f'<p class="note"><b>{text(title)}:</b> {text(said)}</p>'


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
