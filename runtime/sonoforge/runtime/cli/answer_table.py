"""The answers of ``sonoforge classify`` as text: one line for each file, and how many of each kind there were."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sonoforge.runtime.cli.answer import say
from sonoforge.runtime.images.inputs import WIDEST_NAME, Entry, cell, column_width, printable
from sonoforge.runtime.inference import decision
from sonoforge.runtime.inference.trust import Cause
from sonoforge.runtime.notice import UNCERTAIN

if TYPE_CHECKING:
    from sonoforge.runtime.bundle.classification import ClassifierManifest
    from sonoforge.runtime.inference.decision import Clinic

log = logging.getLogger(__name__)


class AnswerTable:
    """Prints answers as lines of one table and counts them."""

    def __init__(self, manifest: ClassifierManifest, clinic: Clinic) -> None:
        """Take what answers, and where its answers are for."""
        self._classes, self._coverage = manifest.classes, 1 - manifest.alpha
        self._asked = {question.name: len(question.name) + 1 for question in manifest.questions}
        self._about = decision.in_words(manifest, clinic)  # printed under the answers
        self._counts = Counter[str]()
        self._skipped = Counter[str]()
        self._begun = False
        self._widths = (4, max(map(len, (*self._classes, "label", UNCERTAIN))))

    def begin(self, names: Sequence[str], more: bool = False) -> None:
        """Print the heading once, of a column wide enough for these names, or for ``more`` to come."""
        if self._begun or not (names or more):
            return
        self._begun = True
        self._widths = (WIDEST_NAME if more else max(column_width(names), len("file")), self._widths[1])
        asked = [f"{name}?" for name in self._asked]
        say("%s", self._row("file", "label", "prob.", asked, "trust", f"set at {self._coverage:.0%}"))

    def skip(self, skipped: Mapping[str, int]) -> None:
        """Count files that are not read, by kind."""
        self._skipped.update(skipped)

    def count(self, entry: Entry) -> None:
        """Count one answer, in what it says."""
        counts = self._counts
        counts["files"] += 1
        if entry["ok"]:
            counts["ok"] += 1
            counts[f"label {entry['label']}"] += 1
            counts["not_trusted"] += any(cause != Cause.BETWEEN_CLASSES.value for cause in entry["trust"]["causes"])
            counts["quality_flagged"] += bool(entry["quality"]["flags"])
            counts["marked"] += bool(entry["marks"]["counts"])
            counts["repeated"] += bool(entry["copy_of"] or entry["seems_copy_of"])
            counts["unwritten"] += bool(entry.get("unwritten"))

    def show(self, entry: Entry) -> None:
        """Print one answer, a failure on stderr."""
        from sonoforge.runtime.images.repeats import in_words  # noqa: PLC0415 - numpy, which --help does not wait for

        name = cell(entry["file"], self._widths[0])
        if not entry["ok"]:
            message = printable(entry["error"]["message"])
            log.error("%-*s  error (%s): %s", self._widths[0], name, entry["error"]["code"], message)
            return
        label, trust = entry["label"], entry["trust"]
        probability = f"{max(entry['probabilities'].values()):.3f}"
        score = f"{trust['score']:.2f}{'' if trust['in_distribution'] else ' !'}"
        asked = list(decision.answers_in_words(entry["findings"]).values())
        row = self._row(name, label, probability, asked, score, ", ".join(entry["set"]))
        clip, remarks = entry.get("clip"), []
        if clip:
            remarks.append(f"{clip['distinct']} of {clip['frames']} frames, best: {clip['best_frame']}")
            remarks += [sentence.rstrip(".") for sentence in clip["motion"]["advice"]]
        if entry["crop"] and entry["crop"]["kept"] < 1:
            remarks.append(f"cropped to {entry['crop']['reason']}")
        remarks += [*entry["remarks"], *trust["reasons"], *entry["quality"]["flags"]]
        if entry["marks"]["summary"]:
            remarks.append(f"burned-in marks: {entry['marks']['summary']}")
        remarks += map(printable, in_words(entry))
        say("%s", f"{row}  [{'; '.join(remarks)}]" if remarks else row)
        for message in entry.get("unwritten", ()):
            log.error("%-*s  %s", self._widths[0], name, printable(message))

    def end(self) -> None:
        """Say for which clinic the answers are, if there are any."""
        for sentence in self._about if self._counts["ok"] else ():
            say("%s", sentence)

    def summary(self) -> dict[str, Any]:
        """Return the counts that ``sonoforge classify --json`` calls ``summary``."""
        counts = self._counts
        return {
            "files": counts["files"],
            "ok": counts["ok"],
            "failed": counts["files"] - counts["ok"],
            "labels": {name: counts[f"label {name}"] for name in self._classes},
            "uncertain": counts[f"label {UNCERTAIN}"],
            "not_trusted": counts["not_trusted"],
            "quality_flagged": counts["quality_flagged"],
            "marked": counts["marked"],
            "repeated": counts["repeated"],
            "unwritten": counts["unwritten"],
            "skipped": dict(sorted(self._skipped.items())),
        }

    def _row(self, name: str, label: str, probability: str, asked: Sequence[str], trust: str, label_set: str) -> str:
        """Return file, label, probability, answers to the questions, trust and prediction set as one line."""
        answers = "".join(f"{text:<{max(width, 8)}}  " for text, width in zip(asked, self._asked.values(), strict=True))
        start = f"{name:<{self._widths[0]}}  {label:<{self._widths[1]}}  {probability:>5}  "
        return f"{start}{answers}{trust:<6}  {label_set}"
