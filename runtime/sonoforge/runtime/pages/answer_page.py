"""Write one self-contained page of a batch's answers, the most suspicious first."""

from __future__ import annotations

import heapq
import os
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sonoforge.runtime import atomic
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.repeats import in_words as repeats_in_words
from sonoforge.runtime.inference.decision import answers_in_words, in_words
from sonoforge.runtime.inference.verdict import STATES, UNUSABLE, faults_of, verdict_of
from sonoforge.runtime.notice import GUESSES, NOTICE, TRAINED_THIS, trained_on_in_words
from sonoforge.runtime.pages.cards import MOST_PICTURES, page, text

if TYPE_CHECKING:
    from sonoforge.runtime.inference.classifier import Classifier

_STYLE = """
/* A clear answer is not good news: no green. */
.card.clear { --mark: var(--accent); }
.card h3 { color: var(--mark); font-size: 1.1rem; }
.card .file { margin: 0 0 .6rem; font-size: .85rem; color: var(--soft); overflow-wrap: anywhere; }
.card img { max-height: 18rem; width: auto; }
.card tbody th { white-space: nowrap; }
.card td.share { width: 55%; }
.card td.share span { display: block; height: .5rem; border-radius: 3px; background: var(--soft); }
.card .advice { margin: .6rem 0; overflow-wrap: anywhere; }
.card details { margin: .5rem 0; font-size: .88rem; }
.card details img { margin-top: .4rem; }
.card .printed { display: none; }
.series { grid-column: 1 / -1; border: 1px solid var(--line); border-radius: 6px; padding: 0 .9rem .9rem; }
.series h3 { margin: .7rem 0 .2rem; }
.banner { border: 2px solid var(--no); border-radius: 6px; padding: .6rem .9rem; font-weight: 600; margin: 1.1rem 0;
  max-width: none; }
.all th { overflow-wrap: anywhere; }
@media (max-width: 30rem) { .all .n { display: none; } }
.all .no { color: var(--no); } .all .open { color: var(--open); } .all .clear { color: var(--accent); }
@media print {
  /* The list, and each scan, on a page of its own. */
  .cards, .series { display: block; border: 0; padding: 0; }
  .card { break-before: page; border: 0; background: none; padding: 0; }
  .card img { max-height: 12cm; }
  .card .advice { font-size: 1.1rem; }
  .card details:not([open]), main > section > h2 { display: none; }
  .card .printed { display: block; margin-top: 1.5rem; border-top: 1px solid var(--line); padding-top: .4rem; }
  .tall { overflow: visible; max-height: none; }
  footer { display: none; }
}
"""
_RANKS = {state: rank for rank, state in enumerate(STATES)}


def _look(state: str) -> str:
    return "no" if state in UNUSABLE else "clear" if state == "clear" else "open"


class AnswerPage:
    """Gathers answers and writes the page. Several threads may add pictures."""

    def __init__(self, path: str, classifier: Classifier, anonymous: bool) -> None:
        """Check that the page can be written; if ``anonymous``, it shows no pixel of a scan."""
        self.path = Path(path)
        manifest = classifier.bundle.manifest
        model, self._coverage, self._anonymous = classifier.model, 1 - manifest.alpha, anonymous
        self._model_name = f"Model {model['name']} {model['version']}, SHA-256 {model['sha256'][:16]}"
        self._guesses = manifest.guesses
        self._about = " ".join(in_words(manifest, classifier.clinic))
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
            return 1 + _RANKS[state], 0.0, str(entry["file"])
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
        pictures = "Where nothing is said about trust, quality or marks, no fault was found."
        if self._anonymous:
            pictures = "Files are named by a hash of their contents, and scans, which may bear a name, are not shown."
        trained = [trained_on_in_words(summary["trained_on"], summary["ok"])] * bool(summary["trained_on"])
        head = f"""<p class="meta">{text(where + self._model_name)}</p>
<p class="banner">{" ".join([NOTICE, "No answer here is a diagnosis.", *trained])}</p>
{_facts(ordered, summary)}
<p>{text(order)} first, scans without a usable answer last. For {self._coverage:.0%} of scans like the training scans,
the true class is among those that cannot be ruled out. {pictures}</p>
<p>{text(self._about)}</p>"""
        body = self._list(ordered)
        for title, some in (("Answers", usable), ("Without an answer: a person must read these", others)):
            if some:
                parts = "".join(map(self._series, some))
                body += f'<section><h2>{title}</h2><div class="cards">{parts}</div></section>'
        if len(ordered) > len(cards):
            body += f"<p>The list has {_counted(len(ordered) - len(cards), 'answer')} more.</p>"
        return page(f"Answers for {_counted(summary['files'], 'scan')}", _STYLE, head, body, "classify")

    def _name(self, entry: Mapping[str, Any]) -> str:
        """Return a file's name without the folder that all share."""
        return str(entry["file"]).removeprefix(self._folder).lstrip(os.sep) if self._folder else str(entry["file"])

    def _list(self, entries: Sequence[Mapping[str, Any]]) -> str:
        """Return all answers as a table, each with a link to its card."""
        asked = [*(f"{name}?" for name in self._questions)]
        rows = []
        for place, entry in enumerate(entries):
            judged = verdict_of(entry)
            name = text(self._name(entry))
            named = f'<a href="#scan{place}">{name}</a>' if place < MOST_PICTURES else name
            figures = [""] * (1 + len(asked))
            if judged.state not in UNUSABLE:
                said = answers_in_words(entry["findings"]).values()
                figures = [f"{max(entry['probabilities'].values()):.0%}", *said]
            cells = "".join(f'<td class="n">{text(figure)}</td>' for figure in figures)
            answer = f'<td class="{_look(judged.state)}">{text(judged.heading)}</td>'
            rows.append(f'<tr><th scope="row">{named}</th>{answer}{cells}</tr>')
            self._places[id(entry)] = place
        titles = "".join(f'<th scope="col" class="n">{text(title)}</th>' for title in ("probability", *asked))
        return (
            '<div class="scroll tall all" tabindex="0" role="region" aria-label="All answers"><table><thead><tr>'
            f'<th scope="col">file</th><th scope="col">answer</th>{titles}</tr></thead>'
            f"<tbody>{''.join(rows)}</tbody></table></div>"
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
        """Return probabilities, answers to the questions, and notes; fold the first two if they mean nothing."""
        rows = [
            f'<tr><th scope="row">{text(label)}</th><td class="n">{100 * value:.0f} %</td>'
            f'<td class="share"><span style="width: {100 * value:.1f}%"></span></td></tr>'
            for label, value in sorted(entry["probabilities"].items(), key=lambda pair: -pair[1])
        ]
        table = f"<table><tbody>{''.join(rows)}</tbody></table>"
        asked = [_note(name.capitalize(), said) for name, said in answers_in_words(entry["findings"]).items()]
        notes = [_note(*pair) for pair in _notes(entry)]
        notes[:0] = [_note("Careful", GUESSES)] * self._guesses
        if unusable:
            folded = f"<summary>Figures that mean nothing here</summary>{table}{''.join(asked)}"
            return [*notes, f"<details>{folded}</details>"]
        return [table, *asked, *notes]


_Order = tuple[int, float, str]


def _notes(entry: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield further notes on an answer, each with a title of a word or two."""
    trust = entry["trust"]
    if entry["trained_on"]:
        yield "Careful", TRAINED_THIS
    if entry["abstained"] and not trust["causes"]:
        yield "Why", entry["abstained"]
    if trust["reasons"]:
        yield f"Trust {trust['score']:.2f} of 1", "; ".join(trust["reasons"])
    if faults := faults_of(entry):
        yield "Image quality", ", ".join(faults)
    if entry["marks"]["summary"]:
        yield "Burned-in marks", f"{entry['marks']['summary']}. {entry['marks']['note']}"
    if entry["crop"] and entry["crop"]["kept"] < 1:
        yield "Cropped to", entry["crop"]["reason"]
    for remark in entry["remarks"]:
        yield "As read", remark
    if "clip" in entry:
        clip, motion = entry["clip"], entry["clip"]["motion"]
        about = f"{clip['distinct']} distinct of {clip['frames']} frames, the best is {clip['best_frame']}"
        if motion["per_frame"] is not None:
            about += f"; moves by {motion['per_frame']:.1f} {motion['unit']}"
        yield "Clip", ". ".join([about, *motion["advice"]])
    for sentence in repeats_in_words(entry):
        yield "Repeated", sentence
    for message in entry.get("unwritten", ()):
        yield "Not written", message


def _facts(entries: Sequence[Mapping[str, Any]], summary: Mapping[str, Any]) -> str:
    states = Counter(verdict_of(entry).state for entry in entries)
    figures = {state: states[state] for state in reversed(STATES) if states[state]}
    skipped = sum(summary.get("skipped", {}).values())
    figures |= {"files skipped": skipped} if skipped else {}
    cells = "".join(f"<div><dt>{name}</dt><dd>{count}</dd></div>" for name, count in figures.items())
    return f'<dl class="facts">{cells}</dl>'


def _note(title: str, said: str) -> str:
    return f'<p class="note"><b>{text(title)}:</b> {text(said)}</p>'


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
