"""``sonoforge classify``: answer for images, folders and globs, offline.

JSON (``--json``) is one object: ``results``, one entry for each file in the order given, as `answer_file` documents
it, with ``--overlay`` also ``overlay``, the path of its picture; or, for a file that cannot be used, ``{"file", "ok":
False, "error": {"code", "message"}}`` with the codes of `ImageError`; ``model``, ``{"name", "version", "sha256"}``;
``summary``, ``{"files", "ok", "failed", "labels": {class: count}, "not_trusted", "quality_flagged"}``; ``notice``.

CSV (``--csv``) and JSON Lines (``--jsonl``) hold one row for each file, appended as soon as it is answered: an end by
Ctrl-C, SIGTERM or kill loses none but those being worked on.  ``--resume`` answers the files that such a file lacks,
each once; a file that has changed since is answered anew.

Several files are classified at a time, one on each core: decoding and inference both let other threads run.  No answer
depends on it, but the ``ms`` of a file are longer where the cores are shared.

Exit code 0 when every file was answered; 2 when any could not be: its entry says why, and the other answers are still
printed and written.
"""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sonoforge.runtime.cli.answer import prints_text, say
from sonoforge.runtime.cli.options import Outcome, argument, option
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.inputs import cell, column_width, defused, expand, failure, printable, silent_decoders
from sonoforge.runtime.notice import NOTICE

if TYPE_CHECKING:
    from sonoforge.runtime.cli.answer_files import AnswerFile
    from sonoforge.runtime.inference.classifier import Classifier

EXAMPLES = """
sonoforge classify scan.png
sonoforge classify scans/ --recursive --csv answers.csv
sonoforge classify scans/ --csv answers.csv --resume
sonoforge classify scans/ --overlay looked-at/
sonoforge classify 'scans/*.png' --json --quiet > answers.json
sonoforge classify scan.png --bundle bundle.zip

exit code: 0 every file was answered; 2 at least one could not be (the others still are)
"""

# At most this many decoded images are in memory at a time by default, on however many cores.
_MOST_WORKERS = 8
# Files per worker in a block, whose lines are printed together: few enough to watch, enough to keep all cores busy.
_BLOCK = 16

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Config:
    """Settings of ``sonoforge classify``."""

    paths: tuple[str, ...] = argument(help="images, folders (without their masks) and globs, which may be quoted")
    bundle: str = option("", help="folder or .zip of a bundle (default: the shipped one)", metavar="PATH")
    overlay: str = option("", help="also draw where each answer comes from, in this folder", metavar="FOLDER")
    csv: str = option("", help="also append one row to this CSV file as each file is answered", metavar="FILE")
    jsonl: str = option("", help="the same with one JSON object a line", metavar="FILE")
    resume: bool = option(False, help="continue --csv or --jsonl: answer only the files that it lacks")
    beside: bool = option(False, help="also write each answer as JSON beside its file: NAME.sonoforge.json")
    anonymous: bool = option(False, help="name files by a hash of their contents in all that is printed and written")
    recursive: bool = option(False, help="also search subfolders")
    threads: int = option(1, help="threads for one inference", limits=(1, 256))
    workers: int = option(0, help="files classified at a time; 0: one for each core, at most 8", limits=(0, 256))


def main(config: Config) -> Outcome:
    """Classify every file; see the top of this module for the result and the exit code."""
    from sonoforge.runtime.images.decoding import ImageError  # noqa: PLC0415 - --help and a wrong flag do without it
    from sonoforge.runtime.inference.classifier import Classifier  # noqa: PLC0415
    from sonoforge.runtime.inference.clips import answer_file  # noqa: PLC0415

    if config.anonymous and config.beside:
        raise SonoforgeError("--beside names its files after the scans, which --anonymous must not; choose one")
    # Pillow's warnings about odd metadata would break up the table.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    classifier = Classifier(config.bundle or None, config.threads)
    files, failures = expand(config.paths, config.recursive)
    names = dict(zip(files, files, strict=True))
    if config.anonymous:
        from sonoforge.runtime.images.anonymous import hide, pseudonyms  # noqa: PLC0415 - only with --anonymous

        names = pseudonyms(files)
    pictures = {}
    if config.overlay:
        from sonoforge.runtime.explanations.files import targets, write  # noqa: PLC0415 - only with --overlay

        pictures = targets([names[file] for file in files if file not in failures], Path(config.overlay))
    kept = _open_files(config, classifier)
    if config.resume:
        already = len(files)
        files = [file for file in files if not all(own.holds(names[file]) for own in kept)]
        already -= len(files)
        log.info("%d files are answered already, %d are left", already, len(files))
    results: list[dict[str, Any]] = []
    counts = Counter[str]()
    widths = (column_width(list(names.values())), max(map(len, (*classifier.bundle.classes, "label"))))
    if files:
        coverage = 1 - classifier.bundle.manifest.alpha
        say("%s", _row(widths, ("file", "label", "prob.", "trust", f"set at {coverage:.0%}")))

    def answer(file: str) -> dict[str, Any]:
        entry = failures.get(file) or classified(file)
        if config.beside and entry["ok"]:
            from sonoforge.runtime.atomic import write_json  # noqa: PLC0415 - only with --beside

            write_json(f"{file}.sonoforge.json", {**entry, "notice": NOTICE})
        return hide(entry, file, names[file]) if config.anonymous else entry

    def classified(file: str) -> dict[str, Any]:
        try:
            answered = answer_file(classifier, file)
            if not pictures:
                return answered.entry
            picture = pictures[names[file]]
            write(picture, answered.picture(), answered.result)
            return {**answered.entry, "overlay": str(picture)}
        except ImageError as error:
            return failure(file, error.code, str(error))

    def keep(result: dict[str, Any]) -> None:
        for own in kept:
            if not own.holds(result["file"]):
                own.add(result)

    all_at_once = not prints_text()  # a day's answers of a folder need not be in memory
    for result in _answers(answer, keep, files, _workers(config, len(files))):
        _count(result, counts)
        if all_at_once:
            results.append(result)
        _print_result(result, widths)
    for own in kept:
        own.close()
        log.info("written: %s", own.path)
    summary = _summary(counts, classifier.bundle.classes)
    say(
        "%d of %d files answered, %d not trusted, %d with quality flags.  %s",
        *(summary[key] for key in ("ok", "files", "not_trusted", "quality_flagged")),
        NOTICE,
    )
    if pictures:
        log.info("written: pictures in %s", config.overlay)
    result = {"results": results, "model": classifier.model, "summary": summary, "notice": NOTICE}
    next_command = f"sonoforge verify '{config.bundle}'" if config.bundle else "sonoforge verify"
    return Outcome(result, next_command, 2 if summary["failed"] else 0)


def _workers(config: Config, files: int) -> int:
    """Return how many files to answer at a time."""
    if config.workers or files < 2:
        return config.workers or 1
    from sonoforge.runtime.machine import cores  # noqa: PLC0415 - one file does not wait for it

    return max(1, min(cores() // config.threads, _MOST_WORKERS))


def _answers(
    answer: Callable[[str], dict[str, Any]],
    keep: Callable[[dict[str, Any]], None],
    files: Sequence[str],
    workers: int,
) -> Iterator[dict[str, Any]]:
    """Yield the answer for each file, in order, working on several at a time; ``keep`` each as soon as it is known.

    Silencing the decoders silences all of stderr, so a whole block of files is answered before any of it is yielded.
    On Ctrl-C, what is finished of the block is yielded before the interruption is raised again.
    """
    if workers == 1:
        for file in files:
            with silent_decoders():
                result = answer(file)
            keep(result)
            yield result
        return
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415

    pool = ThreadPoolExecutor(workers)
    try:
        for begin in range(0, len(files), _BLOCK * workers):
            futures = [pool.submit(answer, file) for file in files[begin : begin + _BLOCK * workers]]
            finished, interrupted = [], False
            with silent_decoders():
                try:
                    for future in futures:
                        finished.append(future.result())
                        keep(finished[-1])
                except KeyboardInterrupt:
                    interrupted = True
            yield from finished
            if interrupted:
                raise KeyboardInterrupt
    finally:
        pool.shutdown(cancel_futures=True)


def _print_result(result: dict[str, Any], widths: tuple[int, int]) -> None:
    name = cell(result["file"], widths[0])
    if not result["ok"]:
        message = printable(result["error"]["message"])
        log.error("%-*s  error (%s): %s", widths[0], name, result["error"]["code"], message)
        return
    label, trust = result["label"], result["trust"]
    probability = f"{result['probabilities'][label]:.3f}"
    score = f"{trust['score']:.2f}{'' if trust['in_distribution'] else ' !'}"
    row = _row(widths, (name, label, probability, score, ", ".join(result["set"]) or "none"))
    clip = result.get("clip")
    pooled = [f"{clip['distinct']} of {clip['frames']} frames, best: {clip['best_frame']}"] if clip else []
    remarks = "; ".join([*pooled, *trust["reasons"], *result["quality"]["flags"]])
    say("%s", f"{row}  [{remarks}]" if remarks else row)


def _row(widths: tuple[int, int], cells: tuple[str, str, str, str, str]) -> str:
    """Return file, label, probability, trust and prediction set as one line; ``widths`` of the first two columns."""
    name, label, probability, trust, label_set = cells
    return f"{name:<{widths[0]}}  {label:<{widths[1]}}  {probability:>5}  {trust:<6}  {label_set}"


def _count(result: dict[str, Any], counts: Counter[str]) -> None:
    counts["files"] += 1
    if result["ok"]:
        counts["ok"] += 1
        counts[f"label {result['label']}"] += 1
        counts["not_trusted"] += not result["trust"]["in_distribution"]
        counts["quality_flagged"] += bool(result["quality"]["flags"])


def _summary(counts: Counter[str], classes: Sequence[str]) -> dict[str, Any]:
    return {
        "files": counts["files"],
        "ok": counts["ok"],
        "failed": counts["files"] - counts["ok"],
        "labels": {name: counts[f"label {name}"] for name in classes},
        "not_trusted": counts["not_trusted"],
        "quality_flagged": counts["quality_flagged"],
    }


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
