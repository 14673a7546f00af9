"""Classify images, folders and globs, as ``sonoforge classify`` does: a line for each file, remarks, and a summary."""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sonoforge.runtime.cli.answer import prints_text, say, tell
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.inputs import (
    STDIN,
    Entry,
    cell,
    column_width,
    expand,
    printable,
    skipped_in_words,
    whole_files,
)
from sonoforge.runtime.inference import decision
from sonoforge.runtime.inference.classifier import Classifier
from sonoforge.runtime.inference.decision import AtClinic, Clinic
from sonoforge.runtime.inference.loading import LoadingModel
from sonoforge.runtime.inference.onnx_session import CPU
from sonoforge.runtime.inference.verdict import STATES, UNUSABLE, notes_on, verdict_of
from sonoforge.runtime.jobs.answering import Answering, answer_all
from sonoforge.runtime.notice import NOTICE, trained_on_in_words
from sonoforge.runtime.settings import ClassifyConfig

if TYPE_CHECKING:
    from sonoforge.runtime.bundle.classification import ClassifierManifest

log = logging.getLogger(__name__)

_NAME = 20  # of a file's name

Classified = tuple[dict[str, Any], bool]
"""What ``sonoforge classify --json`` prints, without entries if they were printed as text; and whether every file, in a
continued table too, was answered, and all that was asked for is written."""


def classify(
    config: ClassifyConfig,
    model: LoadingModel | None = None,
    taken: Callable[[Entry], None] | None = None,
    look: Callable[[], None] | None = None,
) -> Classified:
    """Classify every file, and write what the settings ask for.

    Args:
        config: What to classify, with which bundle, and what to write.
        model: The bundle's model if it is being loaded already.
        taken: Called with each answer as soon as it is stored.
        look: Called before each batch of files that appear in the folder ``config.watch``.
    """
    _check(config)
    # Pillow's warnings about odd metadata would break up the table.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    found = expand(config.paths, config.recursive, generated=False)
    asked = AtClinic(config.prevalence, config.sensitivity, config.abstain)
    model = model or LoadingModel(config.bundle or None, config.file, config.threads)
    classifier = Classifier(model, crop=None if config.crop == "bundle" else config.crop, asked=asked)
    page = None
    if config.html:
        from sonoforge.runtime.pages.answer_page import AnswerPage  # noqa: PLC0415 - only with --html

        page = AnswerPage(config.html, classifier, config.anonymous)
    answering = Answering(classifier, found.failures, config, page, not config.watch and len(found.files) == 1)
    kept = None
    if config.csv:  # opened before anything is answered
        from sonoforge.runtime.cli.answer_files import AnswerFile, csv_format, settings_in_words  # noqa: PLC0415

        origin = classifier.model["sha256"], settings_in_words(classifier)
        kept = AnswerFile(config.csv, csv_format(classifier.bundle.manifest), origin, config.resume)
    results: list[Entry] = []
    all_at_once = not prints_text()  # a day's answers of a folder need not be in memory
    table = AnswerTable(classifier.bundle.manifest, classifier.clinic, found.skipped)

    def keep(entry: Entry) -> None:
        answering.mark_repeat(entry)
        table.count(entry)  # before it is kept: the exit code is that of all that is in the files
        if kept and not kept.holds(entry["file"]):
            kept.add(entry)
        if taken:
            taken(entry)

    with contextlib.suppress(KeyboardInterrupt) if config.watch else contextlib.nullcontext():
        for files in _batches(config, found.files):
            if look:
                look()
            names = answering.name(files)
            left = [file for file in files if not (kept and config.resume and kept.holds(names[file]))]
            if config.resume and files:
                log.info("%d files are answered already, %d are left", len(files) - len(left), len(left))
            table.begin([names[file] for file in left], more=bool(config.watch))
            for entry in answer_all(answering.answer, left, "classifying", (config.workers, config.threads), keep):
                table.show(entry)
                if page:
                    page.add(entry)
                if all_at_once:
                    results.append(entry)
    if kept:
        kept.close()
        log.info("written: %s", kept.path)
    table.end()
    summary = table.summary()
    if page and summary["files"]:
        page.write(summary)
        log.info("written: %s", page.path)
    tell(table.in_words() + ".")
    tell(trained_on_in_words(summary["trained_on"], summary["ok"]))
    say("%s", NOTICE)
    _tell(config, summary, found.skipped)
    answers = {
        "results": results,
        "model": classifier.model,
        "provider": CPU,
        "clinic": classifier.clinic._asdict(),
        "crop": {"used": classifier.crop, "in_training": classifier.bundle.manifest.preprocessing.crop},
        "summary": summary,
        "notice": NOTICE,
    }
    if kept and kept.failed:
        log.warning("%d of the files answered before could not be used; remove their rows to try again", kept.failed)
    return answers, not (summary["failed"] or summary["unwritten"] or (kept and kept.failed))


def _tell(config: ClassifyConfig, summary: Mapping[str, Any], skipped: Mapping[str, int]) -> None:
    """Say on stderr what else there is to know about the answers."""
    if summary["marked"]:
        from sonoforge.runtime.images.burned_in_marks import SENTENCE  # noqa: PLC0415 - for marked scans only

        tell(f"{summary['marked']} of {summary['ok']} scans carry burned-in marks. {SENTENCE}", printer=log.warning)
    if skipped:
        log.info("%s", skipped_in_words(skipped))
    written = {"pictures": config.overlay, "reports on DICOM files": config.sr, "pictures of DICOM files": config.sc}
    for what, folder in written.items():
        if folder and summary["ok"]:
            log.info("written: %s in %s", what, folder)


def _check(config: ClassifyConfig) -> None:
    """Refuse settings that contradict each other."""
    if not (config.paths or config.watch):
        raise SonoforgeError("PATHS is missing: images, folders and globs, or - for standard input")
    if config.resume and not config.csv:
        raise SonoforgeError("--resume requires --csv, the file to continue")
    if config.html and config.resume:
        raise SonoforgeError(
            "--html shows only the answers of this run, and --resume leaves out the others; choose one"
        )
    for flag in ("resume", "sr", "sc"):
        if STDIN in config.paths and getattr(config, flag):
            raise SonoforgeError(f"--{flag} needs a file name, which standard input (-) does not have; give the file")
        if config.anonymous and flag != "resume" and getattr(config, flag):
            raise SonoforgeError(
                f"--{flag} writes objects that hold the patient's name, which --anonymous forbids; choose one"
            )


def _batches(config: ClassifyConfig, files: list[str]) -> Iterator[list[str]]:
    """Yield the files given; then, with ``--watch``, those that appear, until Ctrl-C or SIGTERM."""
    if files or not config.watch:
        yield files
    if config.watch:
        log.info("watching %s; Ctrl-C ends it", printable(config.watch))
        yield from whole_files(config.watch, config.recursive)


class AnswerTable:
    """Prints answers as lines of one table and counts them."""

    def __init__(self, manifest: ClassifierManifest, clinic: Clinic, skipped: Mapping[str, int]) -> None:
        """Take the model that answers, the clinic it answers for, and how many files of each kind are not read."""
        self._classes = manifest.classes
        self._about = decision.in_words(manifest, clinic)  # printed under the answers
        if clinic.prevalence == manifest.default:
            self._about[0] += " Give your clinic's shares with --prevalence."
        self._states, self._counts = Counter[str](), Counter[str]()
        self._advice: dict[str, str] = {}
        self._skipped, self._folder = skipped, ""
        longest = sum(sorted(map(len, self._classes))[-2:]) + len("undecided:  or ")
        self._widths = [_NAME, min(longest, 48), 0]

    def begin(self, names: Sequence[str], more: bool = False) -> None:
        """Make the first column wide enough for these names, or for ``more`` to come."""
        folders = {os.path.dirname(name) for name in names}  # noqa: PTH120 - thousands of names
        self._folder = "" if more or len(folders) != 1 else os.path.join(*folders, "")  # noqa: PTH118
        if names and not more:
            self._widths[0] = min(max(column_width([self._inside(name) for name in names]), len("file")), _NAME)

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
            if entry["trained_on"] is not None:
                counts["trained_on"] += entry["trained_on"]

    def show(self, entry: Entry) -> None:
        """Print one answer, a failure on stderr."""
        name = cell(self._inside(entry["file"]), self._widths[0])
        if not entry["ok"]:
            message = printable(entry["error"]["message"])
            log.error("%-*s  error (%s): %s", self._widths[0], name, entry["error"]["code"], message)
            return
        state, heading, advice = verdict_of(entry)
        if not self._advice:
            say("%s", self._row("file", "answer", "most probable"))
        likeliest, share = max(entry["probabilities"].items(), key=lambda pair: pair[1])
        # Percentages of an answer that must not be used invite its use.
        usable = state not in UNUSABLE
        say("%s", self._row(name, heading, f"{likeliest} {decision.percent(share)}" if usable else "-"))
        asked = decision.answers_in_words(entry["findings"] if usable else {})
        tell("; ".join(f"{question}: {said}" for question, said in asked.items()), "    ")
        self._advice.setdefault(advice, state)
        notes = [(title, self._inside(said).rstrip(".")) for title, said in notes_on(entry)]
        tell("; ".join(f"{title[0].lower()}{title[1:]}: {printable(said)}" for title, said in notes), "    ")
        for message in entry.get("unwritten", ()):
            log.error("%-*s  %s", self._widths[0], name, printable(message))

    def end(self) -> None:
        """Say what to do about these answers and which clinic they are for, if there are any."""
        ordered = sorted(self._advice.items(), key=lambda one: -list(STATES).index(one[1]))
        for advice, state in ordered:
            if state != "clear":
                tell(f"{state}: {advice}")
        for sentence in self._about if self._advice else ():
            tell(sentence)

    def in_words(self) -> str:
        """Return ``4 of 5 files answered: 2 clear, 1 undecided, 1 do not use``."""
        found = [f"{self._states[state]} {state}" for state in reversed([*STATES][1:]) if self._states[state]]
        files = self._states.total()
        answered = f"{files - self._states['no answer']} of {files} files answered" if files else "No file was answered"
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
            "trained_on": counts.get("trained_on"),
            "unwritten": counts["unwritten"],
            "skipped": dict(sorted(self._skipped.items())),
        }

    def _inside(self, text: str) -> str:
        """Return a text with names relative to the folder that all files are in."""
        return text.replace(self._folder, "") if self._folder else text

    def _row(self, *cells: str) -> str:
        """Return file, answer and most probable class as one line."""
        return "  ".join(f"{text:<{width}}" for text, width in zip(cells, self._widths, strict=True)).rstrip()
