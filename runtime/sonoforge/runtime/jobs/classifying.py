"""Classify images, folders and globs, as ``sonoforge classify`` does, a table of answers growing as they come."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from sonoforge.runtime.cli.answer import prints_text, say, tell
from sonoforge.runtime.cli.answer_files import AnswerFile, Origin, csv_format, settings_in_words
from sonoforge.runtime.cli.answer_table import AnswerTable
from sonoforge.runtime.cli.answering import Answering, Extras, answer_all
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.inputs import STDIN, Entry, expand, printable, skipped_in_words, whole_files
from sonoforge.runtime.inference.classifier import Classifier
from sonoforge.runtime.inference.decision import AtClinic
from sonoforge.runtime.inference.loading import LoadingModel
from sonoforge.runtime.notice import NOTICE
from sonoforge.runtime.settings import ClassifyConfig

log = logging.getLogger(__name__)


class Classified(NamedTuple):
    """The answers to many files."""

    answers: dict[str, Any]  # what ``sonoforge classify --json`` prints; without entries if they were printed as text
    complete: bool  # whether every file, in a continued table too, was answered, and all that was asked for is written


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

    Raises:
        SonoforgeError: Settings contradict each other, there is no bundle, or an output cannot be opened.
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
    extras = Extras(config.overlay, config.sr, config.sc, page, config.anonymous)
    alone = not config.watch and len(found.files) == 1
    answering = Answering(classifier, found.failures, extras, alone)
    kept = _open_file(config, classifier)
    results: list[Entry] = []
    all_at_once = not prints_text()  # a day's answers of a folder need not be in memory
    table = AnswerTable(classifier.bundle.manifest, classifier.clinic)
    table.skip(found.skipped)

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
            workers = config.workers, config.threads
            for entry in answer_all(answering.answer, left, "classifying", workers, keep):
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
    if page:
        page.write(summary)
        log.info("written: %s", page.path)
    tell(table.in_words() + ".")
    say("%s", NOTICE)
    _tell(config, summary, found.skipped)
    answers = {
        "results": results,
        "model": classifier.model,
        "provider": classifier.provider,
        "clinic": classifier.clinic.to_dict(),
        "crop": {"used": classifier.crop, "in_training": classifier.bundle.manifest.preprocessing.crop},
        "summary": summary,
        "notice": NOTICE,
    }
    failed_before = kept.failed if kept else 0
    if failed_before:
        words = "%d of the files answered before could not be used; remove their rows to try them again"
        log.warning(words, failed_before)
    failed = summary["failed"] or summary["unwritten"] or failed_before
    return Classified(answers, not failed)


def _tell(config: ClassifyConfig, summary: Mapping[str, Any], skipped: Mapping[str, int]) -> None:
    """Say on stderr what else there is to know about the answers."""
    if summary["marked"]:
        from sonoforge.runtime.images.burned_in_marks import SENTENCE  # noqa: PLC0415 - for marked scans only

        tell(f"{summary['marked']} of {summary['ok']} scans carry burned-in marks. {SENTENCE}", printer=log.warning)
    if skipped:
        log.info("%s", skipped_in_words(skipped))
    written = {"pictures": config.overlay, "reports on DICOM files": config.sr, "pictures of DICOM files": config.sc}
    for what, folder in written.items():
        if folder:
            log.info("written: %s in %s", what, folder)


def _check(config: ClassifyConfig) -> None:
    """Refuse settings that contradict each other."""
    if not (config.paths or config.watch):
        raise SonoforgeError("PATHS is missing: images, folders and globs, or - for standard input")
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


def _open_file(config: ClassifyConfig, classifier: Classifier) -> AnswerFile | None:
    """Open the table for answers before anything is answered."""
    if config.resume and not config.csv:
        raise SonoforgeError("--resume requires --csv, the file to continue")
    if not config.csv:
        return None
    origin = Origin(classifier.model["sha256"], settings_in_words(classifier))
    return AnswerFile(config.csv, csv_format(classifier.bundle.manifest), origin, config.resume)
