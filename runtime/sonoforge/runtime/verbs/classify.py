"""``sonoforge classify``: answer for images, folders and globs, offline.

JSON (``--json``) is one object:

* ``results``: one entry for each file in the order given, as `answer_file` documents it; with ``--overlay`` also
  ``overlay``, the path of its picture; with ``--sr`` and for DICOM ``sr``, the path of its report; where anything
  that was asked for beside an answer could not be written, ``unwritten``, the reasons.  For a file that cannot be
  used ``{"file", "ok": False, "error": {"code", "message"}}`` with the codes of `ImageError`;
* ``model``: ``{"name", "version", "sha256"}`` of the file that answered;
* ``provider``: onnxruntime's, that ran it;
* ``crop``: ``{"used", "in_training"}``, rows of `preprocessing.CROPS`;
* ``summary``: ``{"files", "ok", "failed", "labels": {class: count}, "not_trusted", "quality_flagged", "unwritten",
  "skipped": {kind: count}}``.  Skipped are files of a folder that are no scans: those of other kinds, masks beside
  their image, and pictures that sonoforge itself drew or generated;
* ``notice``.

CSV (``--csv``) and JSON Lines (``--jsonl``) hold one row for each file, appended as soon as it is answered: an end by
Ctrl-C, SIGTERM or kill loses none but those being worked on.  ``--resume`` answers the files that such a file lacks,
each once; a file that has changed since is answered anew.

Several files are classified at a time, one on each core: decoding and inference both let other threads run.  No answer
depends on it, but the ``ms`` of a file are longer where the cores are shared.

Exit code 0 when every file was answered; 2 when any could not be, or anything of it not be written: its entry says why,
and the other answers are still printed and written.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sonoforge.runtime.cli.answer import prints_text, say
from sonoforge.runtime.cli.answer_table import AnswerTable
from sonoforge.runtime.cli.options import Outcome, argument, option
from sonoforge.runtime.csv_cells import defused
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.inputs import STDIN, expand, failure, read_stdin
from sonoforge.runtime.images.skipped import in_words
from sonoforge.runtime.notice import NOTICE

if TYPE_CHECKING:
    from sonoforge.runtime.cli.answer_files import AnswerFile
    from sonoforge.runtime.explanations.files import OverlayFolder
    from sonoforge.runtime.inference.classifier import Classifier
    from sonoforge.runtime.inference.clips import Answer

EXAMPLES = """
sonoforge classify scan.png
sonoforge classify scans/ --recursive --csv answers.csv
sonoforge classify scans/ --csv answers.csv --resume
sonoforge classify scans/ --overlay looked-at/
sonoforge classify 'scans/*.png' --json --quiet > answers.json
sonoforge classify - < scan.png
sonoforge classify scan.png --bundle bundle.zip --file model.int8.onnx

exit code: 0 every file was answered; 2 at least one could not be (the others still are)
"""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Config:
    """Settings of ``sonoforge classify``."""

    paths: tuple[str, ...] = argument(help="images, folders and globs, which may be quoted; - for standard input")
    bundle: str = option("", help="folder or .zip of a bundle (default: the shipped one)", metavar="PATH")
    file: str = option("model.onnx", help="model file of the bundle to answer with, such as model.int8.onnx")
    provider: str = option("CPUExecutionProvider", help="what onnxruntime runs it on; see sonoforge doctor")
    crop: str = option(
        "bundle",
        help="what the network sees: as in the bundle's training, the scan found in each image, or whole images",
        choices=("bundle", "auto", "none"),
    )
    overlay: str = option("", help="also draw where each answer comes from, in this folder", metavar="FOLDER")
    csv: str = option("", help="also append one row to this CSV file as each file is answered", metavar="FILE")
    jsonl: str = option("", help="the same with one JSON object a line", metavar="FILE")
    resume: bool = option(False, help="continue --csv or --jsonl: answer only the files that it lacks")
    beside: bool = option(False, help="also write each answer as JSON beside its file: NAME.sonoforge.json")
    sr: str = option("", help="also write answers for DICOM as structured reports in this folder", metavar="FOLDER")
    anonymous: bool = option(False, help="name files by a hash of their contents in all that is printed and written")
    recursive: bool = option(False, help="also search subfolders")
    threads: int = option(1, help="threads for one inference", limits=(1, 256))
    workers: int = option(0, help="files classified at a time; 0: one for each core, at most 8", limits=(0, 256))


def main(config: Config) -> Outcome:
    """Classify every file; see the top of this module for the result and the exit code."""
    from sonoforge.runtime.inference.classifier import Classifier  # noqa: PLC0415 - not for --help or a wrong flag
    from sonoforge.runtime.inference.in_order import answers_in_order, workers_for  # noqa: PLC0415

    _check(config)
    # Pillow's warnings about odd metadata would break up the table.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    classifier = Classifier(
        config.bundle or None,
        config.threads,
        config.file,
        config.provider,
        None if config.crop == "bundle" else config.crop,
    )
    files, failures, skipped = expand(config.paths, config.recursive, generated=False)
    answering = _Answering(config, classifier, failures)
    names = answering.name(files)
    kept = _open_files(config, classifier)
    if config.resume:
        already = len(files)
        files = [file for file in files if not all(own.holds(names[file]) for own in kept)]
        already -= len(files)
        log.info("%d files are answered already, %d are left", already, len(files))
    results: list[dict[str, Any]] = []
    table = AnswerTable(classifier.bundle.classes, 1 - classifier.bundle.manifest.alpha)
    table.skip(skipped)
    table.begin([names[file] for file in files])

    def keep(entry: dict[str, Any]) -> None:
        for own in kept:
            if not own.holds(entry["file"]):
                own.add(entry)

    all_at_once = not prints_text()  # a day's answers of a folder need not be in memory
    workers = config.workers or workers_for(len(files), config.threads)
    for entry in answers_in_order(answering.answer, keep, files, workers):
        table.add(entry)
        if all_at_once:
            results.append(entry)
    for own in kept:
        own.close()
        log.info("written: %s", own.path)
    summary = table.summary()
    say(
        "%d of %d files answered, %d not trusted, %d with quality flags.  %s",
        *(summary[key] for key in ("ok", "files", "not_trusted", "quality_flagged")),
        NOTICE,
    )
    if skipped:
        log.info("%s", in_words(skipped))
    if config.overlay:
        log.info("written: pictures in %s", config.overlay)
    if config.sr:
        log.info("written: reports on DICOM files in %s", config.sr)
    result = {
        "results": results,
        "model": classifier.model,
        "provider": classifier.provider,
        "crop": {"used": classifier.crop, "in_training": classifier.bundle.manifest.preprocessing.crop},
        "summary": summary,
        "notice": NOTICE,
    }
    next_command = f"sonoforge verify '{config.bundle}'" if config.bundle else "sonoforge verify"
    return Outcome(result, next_command, 2 if summary["failed"] or summary["unwritten"] else 0)


def _check(config: Config) -> None:
    """Refuse settings that contradict each other."""
    if config.anonymous and config.beside:
        raise SonoforgeError("--beside names its files after the scans, which --anonymous must not; choose one")
    if config.anonymous and config.sr:
        raise SonoforgeError("--sr writes reports that hold the patient's name, which --anonymous must not; choose one")
    if STDIN in config.paths and (config.beside or config.resume):
        flag = "--beside" if config.beside else "--resume"
        raise SonoforgeError(f"{flag}: needs a file's name and time, which standard input (-) has not; give the file")


class _Answering:
    """Answers one file after another, in several threads, with all that is written for each."""

    def __init__(self, config: Config, classifier: Classifier, failures: Mapping[str, dict[str, Any]]) -> None:
        """Check that pictures can be written, and read standard input if it was asked for."""
        self._config, self._classifier, self._failures = config, classifier, failures
        self._names: dict[str, str] = {}
        self._input = read_stdin() if STDIN in config.paths else b""
        self._overlays: OverlayFolder | None = None
        if config.overlay:
            from sonoforge.runtime.explanations.files import OverlayFolder  # noqa: PLC0415 - only with --overlay

            self._overlays = OverlayFolder(Path(config.overlay))
        if config.sr:
            from sonoforge.runtime.atomic import prepare_folder  # noqa: PLC0415 - only with --sr

            prepare_folder(Path(config.sr))

    def name(self, files: Sequence[str]) -> dict[str, str]:
        """Return what to call each file in all that is printed and written, and reserve its picture's name."""
        names = dict(zip(files, files, strict=True))
        if self._config.anonymous:
            from sonoforge.runtime.images.anonymous import pseudonyms  # noqa: PLC0415 - only with --anonymous

            names = pseudonyms(files, {STDIN: self._input})
        self._names.update(names)
        if self._overlays:
            self._overlays.reserve([names[file] for file in files if file not in self._failures])
        return names

    def answer(self, file: str) -> dict[str, Any]:
        """Return the entry of a file."""
        entry = self._failures.get(file) or self._classified(file)
        if not self._config.anonymous:
            return entry
        from sonoforge.runtime.images.anonymous import hide  # noqa: PLC0415 - only with --anonymous

        return hide(entry, file, self._names[file])

    def _classified(self, file: str) -> dict[str, Any]:
        from sonoforge.runtime.images.decoding import ImageError  # noqa: PLC0415 - --help and a wrong flag do without
        from sonoforge.runtime.inference.clips import answer_file  # noqa: PLC0415

        try:
            answered = answer_file(self._classifier, file, self._input if file == STDIN else None)
            return {**answered.entry, **self._write(file, answered)}
        except ImageError as error:
            return failure(file, error.code, str(error))

    def _write(self, file: str, answered: Answer) -> dict[str, Any]:
        """Write what goes with an answer; what cannot be written is noted in it, as the answer itself stands."""
        more: dict[str, Any] = {}
        unwritten = []
        if self._overlays:
            from sonoforge.runtime.explanations.files import write  # noqa: PLC0415 - only with --overlay

            picture = self._overlays.target(self._names[file])
            try:
                write(picture, answered.picture(), answered.result)
                more["overlay"] = str(picture)
            except SonoforgeError as error:
                unwritten.append(str(error))
        if self._config.sr and "dicom" in answered.entry:
            from sonoforge.runtime.images.decoding import ImageError  # noqa: PLC0415 - only with --sr
            from sonoforge.runtime.images.dicom.structured_report import write_report  # noqa: PLC0415 - only with --sr

            try:
                more["sr"] = str(write_report(Path(self._config.sr), file, answered.entry))
            except (SonoforgeError, ImageError) as error:
                unwritten.append(str(error))
        if self._config.beside:
            from sonoforge.runtime.atomic import write_json  # noqa: PLC0415 - only with --beside

            try:
                write_json(f"{file}.sonoforge.json", {**answered.entry, **more, "notice": NOTICE})
            except SonoforgeError as error:
                unwritten.append(str(error))
        return {**more, "unwritten": unwritten} if unwritten else more


def _open_files(config: Config, classifier: Classifier) -> list[AnswerFile]:
    """Open what answers are appended to, before anything is answered."""
    if not (config.csv or config.jsonl):
        if config.resume:
            raise SonoforgeError("--resume: found neither --csv nor --jsonl, expected the file to continue")
        return []
    from sonoforge.runtime.cli.answer_files import AnswerFile, CsvFormat, JsonLinesFormat  # noqa: PLC0415
    from sonoforge.runtime.images.quality_metrics import METRICS  # noqa: PLC0415

    columns = ["label", *(f"p_{name}" for name in classifier.bundle.classes), "set", "trust_score", "in_distribution"]
    columns += ["trust_reasons", *METRICS, "quality_flags"]
    model, kept = classifier.model["sha256"], []
    if config.crop not in ("bundle", classifier.bundle.manifest.preprocessing.crop):
        model = f"crop {config.crop} {model}"  # such answers are not mixed with others in one file
    if config.csv:
        kept.append(AnswerFile(config.csv, CsvFormat(columns, _cells), model, config.resume))
    if config.jsonl:
        kept.append(AnswerFile(config.jsonl, JsonLinesFormat(), model, config.resume))
    return kept


def _cells(result: Mapping[str, Any]) -> dict[str, str]:
    """Return the cells of an answer by column; lists are joined by ``|``."""
    trust, quality = result["trust"], result["quality"]
    return {
        "label": defused(result["label"]),
        **{f"p_{name}": repr(value) for name, value in result["probabilities"].items()},
        "set": defused("|".join(result["set"])),
        "trust_score": repr(trust["score"]),
        "in_distribution": str(trust["in_distribution"]).lower(),
        "trust_reasons": defused("|".join(trust["reasons"])),
        **{name: repr(value) for name, value in quality.items() if name != "flags"},
        "quality_flags": "|".join(quality["flags"]),
    }
