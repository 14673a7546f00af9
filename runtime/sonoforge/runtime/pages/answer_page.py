"""One self-contained page of a batch's answers for people, those to look at first on top."""

from __future__ import annotations

import heapq
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sonoforge.runtime import atomic
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.repeats import in_words as repeats_in_words
from sonoforge.runtime.inference.decision import answers_in_words, in_words
from sonoforge.runtime.notice import GUESSES, NOTICE, UNCERTAIN
from sonoforge.runtime.pages.cards import MOST_PICTURES, page, text

if TYPE_CHECKING:
    from sonoforge.runtime.inference.classifier import Classifier

_STYLE = """
/* A clear answer is not good news: no green. */
.card.clear { --mark: var(--accent); }
.card h3 { color: var(--mark); font-size: 1.1rem; }
.card .file { margin: 0 0 .6rem; font-size: .85rem; color: var(--soft); overflow-wrap: anywhere; }
.card .seen { display: flex; gap: .5rem; margin: 0 0 .6rem; align-items: flex-start; }
.card .seen img { max-height: 14rem; max-width: calc(50% - .25rem); width: auto; }
.card tbody th { white-space: nowrap; }
.card td.share { width: 55%; }
.card td.share span { display: block; height: .5rem; border-radius: 3px; background: var(--soft); }
.series { grid-column: 1 / -1; border: 1px solid var(--line); border-radius: 6px; padding: 0 .9rem .9rem; }
.series h2 { margin: .7rem 0 .2rem; padding: 0; border: 0; }
.banner { border: 2px solid var(--no); border-radius: 6px; padding: .6rem .9rem; font-weight: 600; margin: 1.1rem 0;
  max-width: none; }
"""


class _Verdict(NamedTuple):
    """How an answer is to be taken: its rank, the worst first; its look; and its heading."""

    rank: int
    look: str
    heading: str


def verdict(entry: Mapping[str, Any]) -> _Verdict:
    """Assess the entry of one file."""
    if not entry["ok"]:
        return _Verdict(0, "no", "No answer")
    trust, classes = entry["trust"], entry["set"]
    abstains = entry["label"] == UNCERTAIN
    if abstains or not trust["in_distribution"]:
        return _Verdict(1, "no", "Uncertain: no answer" if abstains else "Do not use: unlike the training images")
    if len(classes) > 1:
        return _Verdict(2, "open", f"Open: {' or '.join(classes)}")
    if entry["quality"]["flags"]:
        return _Verdict(3, "open", f"{classes[0]}, from a poor image")
    return _Verdict(4, "clear", str(classes[0]))


def _urgency(entry: Mapping[str, Any]) -> float:
    """Order scans of one verdict, the least first: the most suspicious, else the least sure."""
    if not entry["ok"]:
        return 0.0
    malignant = entry["findings"].get("malignant")
    return -float(malignant["probability"]) if malignant else float(max(entry["probabilities"].values()))


class AnswerPage:
    """Gathers answers and writes the page.  Pictures may come from several threads."""

    def __init__(self, path: str, classifier: Classifier, anonymous: bool) -> None:
        """Check that the page can be written.

        Args:
            path: The page.
            classifier: What answers.
            anonymous: Whether files are named by their contents, and no pixel of a scan is shown.

        Raises:
            SonoforgeError: It cannot be written.
        """
        self.path = Path(path)
        manifest = classifier.bundle.manifest
        self._model, self._coverage, self._anonymous = classifier.model, 1 - manifest.alpha, anonymous
        self._guesses = manifest.guesses
        self._about = " ".join(in_words(manifest, classifier.clinic))
        self._entries: list[tuple[tuple[int, float, str], Mapping[str, Any]]] = []
        self._pictures: dict[str, list[str]] = {}
        self._shown: list[tuple[int, float, str]] = []  # heap, the best first
        self._lock = threading.Lock()
        if self.path.is_dir():
            raise SonoforgeError(f"{self.path}: cannot be written, as it is a folder; choose another name")
        atomic.prepare_folder(self.path.parent)

    def picture(self, name: str, addresses: list[str]) -> None:
        """Keep the pictures of a file until its answer comes."""
        with self._lock:
            self._pictures[name] = addresses

    def add(self, entry: Mapping[str, Any]) -> None:
        """Take one answer; only the worst `MOST_PICTURES` keep their pictures."""
        order = (verdict(entry).rank, _urgency(entry), str(entry["file"]))
        self._entries.append((order, entry))
        with self._lock:
            heapq.heappush(self._shown, (-order[0], -order[1], order[2]))
            if len(self._shown) > MOST_PICTURES:
                self._pictures.pop(heapq.heappop(self._shown)[2], None)

    def write(self, summary: Mapping[str, Any]) -> None:
        """Write the page."""
        atomic.write_text(self.path, self._page(summary))

    def _page(self, summary: Mapping[str, Any]) -> str:
        ordered = [entry for _, entry in sorted(self._entries, key=lambda pair: pair[0])]
        cards, rows = ordered[:MOST_PICTURES], ordered[MOST_PICTURES:]
        model, sha256 = f"{self._model['name']} {self._model['version']}", self._model["sha256"][:16]
        head = f"""<p class="meta">Model {text(model)}, SHA-256 <span class="hash">{text(sha256)}</span></p>
<p class="banner">{NOTICE} No answer here is a diagnosis.</p>
{_facts(ordered, summary)}
<p>The scans to look at first come first. Each answer lists the classes that cannot be ruled out at
{self._coverage:.0%}: one class is a clear answer, several are not. A scan unlike the training images gets no
answer that may be used.{self._about_pictures()}</p>
<p>{text(self._about)}</p>"""
        body = f'<div class="cards">{"".join(map(self._series, _by_series(cards)))}</div>{_list(rows)}'
        return page(f"Answers for {_counted(summary['files'], 'scan')}", _STYLE, head, body, "classify")

    def _about_pictures(self) -> str:
        if self._anonymous:
            return (
                " Files are named by a hash of their contents. Of each, only the map of the evidence is shown: a scan "
                "may bear a name in its pixels."
            )
        return " Beside each scan, colour shows where the evidence for the most probable class lies."

    def _series(self, entries: Sequence[Mapping[str, Any]]) -> str:
        """Return the cards of neighbouring frames under one heading, or the card of a scan alone."""
        cards = "".join(map(self._card, entries))
        if len(entries) == 1:
            return cards
        return (
            f'<section class="series"><h2>{len(entries)} neighbouring frames</h2>'
            "<p>They look alike but for some movement: most likely one sweep of one patient.</p>"
            f'<div class="cards">{cards}</div></section>'
        )

    def _card(self, entry: Mapping[str, Any]) -> str:
        judged, name = verdict(entry), str(entry["file"])
        images = "".join(
            f'<img src="{address}" alt="{text(alt)}" loading="lazy">'
            for address, alt in zip(
                self._pictures.get(name, ()), (f"{name}, as given", f"{name}, evidence in colour"), strict=False
            )
        )
        parts = [
            f'<article class="card {judged.look}"><h3>{text(judged.heading)}</h3><p class="file">{text(name)}</p>',
            f'<div class="seen">{images}</div>' if images else "",
        ]
        if not entry["ok"]:
            return "".join([*parts, _note("Why", entry["error"]["message"]), "</article>"])
        parts.append("<table><tbody>")
        for label, value in sorted(entry["probabilities"].items(), key=lambda pair: -pair[1]):
            parts.append(
                f'<tr><th scope="row">{text(label)}</th><td class="n">{100 * value:.0f} %</td>'
                f'<td class="share"><span style="width: {100 * value:.1f}%"></span></td></tr>'
            )
        parts.append("</tbody></table>")
        parts += [_note("Careful", GUESSES)] * self._guesses
        parts += [_note(name.capitalize(), said) for name, said in answers_in_words(entry["findings"]).items()]
        trust = entry["trust"]
        parts.append(_note("Cannot be ruled out", ", ".join(entry["set"])))
        parts.append(_note(f"Trust {trust['score']:.2f}", "; ".join(trust["reasons"]) or "like the training images"))
        parts.append(_note("Image quality", ", ".join(entry["quality"]["flags"]) or "no flags"))
        parts += [_note("As read", remark) for remark in entry["remarks"]]
        if "clip" in entry:
            clip = entry["clip"]
            about = f"{clip['distinct']} distinct of {clip['frames']} frames, the best is {clip['best_frame']}"
            motion = clip["motion"]
            if motion["per_frame"] is not None:
                about += f"; moves by {motion['per_frame']:.1f} {motion['unit']}"
            parts.append(_note("Clip", ". ".join([about, *motion["advice"]])))
        parts += [_note("Repeated", sentence) for sentence in repeats_in_words(entry)]
        parts += [_note("Not written", message) for message in entry.get("unwritten", ())]
        return "".join([*parts, "</article>"])


def _by_series(entries: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """Put neighbouring frames together, where the first of them stands."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for entry in entries:
        found.setdefault(entry.get("series", entry["file"]), []).append(entry)
    return list(found.values())


def _facts(entries: Sequence[Mapping[str, Any]], summary: Mapping[str, Any]) -> str:
    ranks = [verdict(entry).rank for entry in entries]
    figures = {
        "clear answers": ranks.count(4),
        "open, or from a poor image": ranks.count(3) + ranks.count(2),
        "not to be used": ranks.count(1),
        "no answer": ranks.count(0),
        "files skipped": sum(summary.get("skipped", {}).values()),
    }
    cells = "".join(f"<div><dt>{name}</dt><dd>{count}</dd></div>" for name, count in figures.items())
    return f'<dl class="facts">{cells}</dl>'


def _list(entries: Sequence[Mapping[str, Any]]) -> str:
    """Return the answers without pictures, as a table."""
    if not entries:
        return ""
    rows = []
    for entry in entries:
        probability = f"{100 * max(entry['probabilities'].values()):.0f} %" if entry["ok"] else ""
        cells = f'<td>{text(verdict(entry).heading)}</td><td class="n">{probability}</td>'
        rows.append(f'<tr><th scope="row">{text(str(entry["file"]))}</th>{cells}</tr>')
    head = '<tr><th scope="col">file</th><th scope="col">answer</th><th scope="col" class="n">probability</th></tr>'
    return (
        f'<h2>{_counted(len(entries), "further answer")}</h2><div class="scroll"><table><thead>{head}</thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _note(title: str, said: str) -> str:
    return f'<p class="note"><b>{text(title)}:</b> {text(said)}</p>'


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
