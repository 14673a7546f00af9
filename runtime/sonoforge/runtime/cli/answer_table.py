"""Print the answers of ``sonoforge classify`` as text: a line for each file, remarks below it, and a summary."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sonoforge.runtime.cli.answer import say, tell
from sonoforge.runtime.images.inputs import Entry, cell, column_width, printable
from sonoforge.runtime.inference import decision
from sonoforge.runtime.inference.verdict import STATES, UNUSABLE, faults_of, verdict_of

if TYPE_CHECKING:
    from sonoforge.runtime.bundle.classification import ClassifierManifest
    from sonoforge.runtime.inference.decision import Clinic

log = logging.getLogger(__name__)

_NAME = 20  # of a file's name


class AnswerTable:
    """Prints answers as lines of one table and counts them."""

    def __init__(self, manifest: ClassifierManifest, clinic: Clinic) -> None:
        """Take the model that answers, and the clinic it answers for."""
        self._classes, self._coverage = manifest.classes, 1 - manifest.alpha
        self._asked = [f"{question.name}?" for question in manifest.questions]
        self._about = decision.in_words(manifest, clinic)  # printed under the answers
        if len({*clinic.prevalence.values()}) == 1:
            self._about[0] += " Give your clinic's shares with --prevalence."
        self._states, self._counts = Counter[str](), Counter[str]()
        self._advice: dict[str, str] = {}
        self._skipped = Counter[str]()
        self._begun, self._folder = False, ""
        longest = sum(sorted(map(len, self._classes))[-2:]) + len("undecided:  or ")
        self._widths = [_NAME, min(longest, 48), 4, *(max(len(name), 8) for name in self._asked)]

    def begin(self, names: Sequence[str], more: bool = False) -> None:
        """Print the heading once, with a column wide enough for these names, or for ``more`` to come."""
        if self._begun or not (names or more):
            return
        self._begun = True
        folders = {os.path.dirname(name) for name in names}  # noqa: PTH120 - thousands of names
        self._folder = "" if more or len(folders) != 1 else os.path.join(*folders, "")  # noqa: PTH118
        if not more:
            self._widths[0] = min(max(column_width([self._inside(name) for name in names]), len("file")), _NAME)
        say("%s", self._row("file", "answer", "prob", *self._asked))

    def skip(self, skipped: Mapping[str, int]) -> None:
        """Count files that are not read, by kind."""
        self._skipped.update(skipped)

    def count(self, entry: Entry) -> None:
        """Count one answer by what it says."""
        counts = self._counts
        self._states[verdict_of(entry).state] += 1
        if entry["ok"]:
            counts[f"label {entry['label']}"] += 1
            counts["quality_flagged"] += bool(entry["quality"]["flags"])
            counts["marked"] += bool(entry["marks"]["counts"])
            counts["repeated"] += bool(entry["copy_of"] or entry["seems_copy_of"])
            counts["unwritten"] += bool(entry.get("unwritten"))

    def show(self, entry: Entry) -> None:
        """Print one answer, a failure on stderr."""
        name = cell(self._inside(entry["file"]), self._widths[0])
        if not entry["ok"]:
            message = printable(entry["error"]["message"])
            log.error("%-*s  error (%s): %s", self._widths[0], name, entry["error"]["code"], message)
            return
        state, heading, advice = verdict_of(entry)
        short = {"do not use": state, "uncertain": state, "poor image": f"{entry['label']}, poor image"}
        lowered = heading[0].lower() + heading[1:] if state in ("undecided", "cannot tell") else heading
        answer, said = short.get(state, lowered), decision.answers_in_words(entry["findings"]).values()
        figures = [f"{max(entry['probabilities'].values()):.0%}", *said]
        # Percentages of an answer that must not be used invite its use.
        say("%s", self._row(name, answer, *(["-"] * len(figures) if state in UNUSABLE else figures)))
        self._advice.setdefault(advice, state)
        tell("; ".join(map(self._inside, _remarks(entry))), "    ")
        for message in entry.get("unwritten", ()):
            log.error("%-*s  %s", self._widths[0], name, printable(message))

    def end(self) -> None:
        """Say what to do about these answers and which clinic they are for, if there are any."""
        ordered = sorted(self._advice.items(), key=lambda one: -list(STATES).index(one[1]))
        for advice, state in ordered:
            if state != "clear":
                tell(f"{state}: {advice}")
        if {"undecided", "cannot tell"} & {*self._advice.values()}:
            tell(
                f"For {self._coverage:.0%} of scans like the training scans, the true class is among those that cannot "
                "be ruled out; prob is that of the likeliest."
            )
        for sentence in self._about if self._advice else ():
            tell(sentence)

    def in_words(self) -> str:
        """Return ``4 of 5 files answered: 2 clear, 1 undecided, 1 do not use``."""
        found = [f"{self._states[state]} {state}" for state in reversed([*STATES][1:]) if self._states[state]]
        files = self._states.total()
        answered = f"{files - self._states['no answer']} of {files} files answered"
        return f"{answered}: {', '.join(found)}" if found else answered

    def summary(self) -> dict[str, Any]:
        """Return the counts that ``sonoforge classify --json`` calls ``summary``."""
        counts, files = self._counts, self._states.total()
        failed = self._states["no answer"]
        return {
            "files": files,
            "ok": files - failed,
            "failed": failed,
            "labels": {name: counts[f"label {name}"] for name in self._classes},
            "verdicts": {state: self._states[state] for state in STATES},
            "quality_flagged": counts["quality_flagged"],
            "marked": counts["marked"],
            "repeated": counts["repeated"],
            "unwritten": counts["unwritten"],
            "skipped": dict(sorted(self._skipped.items())),
        }

    def _inside(self, text: str) -> str:
        """Return a text with names relative to the folder that all files are in."""
        return text.replace(self._folder, "") if self._folder else text

    def _row(self, *cells: str) -> str:
        """Return file, answer, probability, and the answer to each question, as one line."""
        return "  ".join(f"{text:<{width}}" for text, width in zip(cells, self._widths, strict=True)).rstrip()


def _remarks(entry: Entry) -> list[str]:
    """Return what else a reader must know about an answer."""
    from sonoforge.runtime.images.repeats import in_words  # noqa: PLC0415 - numpy, which --help does not wait for

    trust, clip, said = entry["trust"], entry.get("clip"), []
    if clip:
        said.append(f"{clip['distinct']} of {clip['frames']} frames, best: {clip['best_frame']}")
        said += [sentence.rstrip(".") for sentence in clip["motion"]["advice"]]
    if entry["crop"] and entry["crop"]["kept"] < 1:
        said.append(f"cropped to {entry['crop']['reason']}")
    reasons = [*trust["reasons"]]
    if entry["abstained"] and not trust["causes"]:
        reasons.insert(0, entry["abstained"])
    if trust["causes"]:
        reasons[0] = f"trust {trust['score']:.2f}: {reasons[0]}"
    said += [*entry["remarks"], *reasons]
    if faults := faults_of(entry):
        said.append(f"image quality: {', '.join(faults)}")
    if entry["marks"]["summary"]:
        said.append(f"burned-in marks: {entry['marks']['summary']}")
    return [*said, *map(printable, in_words(entry))]
