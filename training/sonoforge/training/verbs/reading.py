"""``sonoforge reading SHEET ANSWERS...``: could the readers of a reading sheet tell generated images from real ones?

JSON (``--json``) is the ``results.json`` of the run folder, see `sonoforge.training.reading.results.ReadingResults`,
and ``run`` and ``report``, where it is.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import logging
from collections.abc import Sequence
from pathlib import Path

from sonoforge.runtime.atomic import write_text
from sonoforge.runtime.cli.answer import say
from sonoforge.runtime.cli.options import Outcome
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.notice import NOTICE
from sonoforge.training import run_folder
from sonoforge.training.pages.reading.report import judge, write_report
from sonoforge.training.pages.reading.sheet_page import PAGE, read_pictures
from sonoforge.training.reading.answers import Reader, read_readers
from sonoforge.training.reading.key import KEY, KINDS, Key, read_key
from sonoforge.training.reading.results import ReadingResults, ShareResult
from sonoforge.training.reading.scores import score_agreement, score_images, score_reader, score_together
from sonoforge.training.statistics.wording import bracket, number, p_value, share
from sonoforge.training.verbs.settings.evaluation import ReadingConfig

log = logging.getLogger(__name__)

TABLE = "answers.csv"
_COLUMNS = (
    "reader",
    "image",
    "kind",
    "class",
    "source",
    "file",
    "answer",
    "confidence",
    "class_given",
    "x",
    "y",
    "seconds",
)


def main(config: ReadingConfig) -> Outcome:
    """Check the answers against the sealed key, score them, and write the run folder."""
    if not config.sheet or not config.answers:
        raise SonoforgeError(
            f"{'ANSWERS' if config.sheet else 'SHEET'} is missing, expected a folder made by sonoforge evaluate "
            "--reading-sheet and the files that readers saved; see sonoforge reading --help"
        )
    sheet = Path(config.sheet)
    key, seal = read_key(sheet / KEY)
    pictures = read_pictures(sheet / PAGE, key, seal)
    readers = read_readers([Path(path) for path in config.answers], key, seal)
    folder = run_folder.create_run(Path(config.out), "reading", dataclasses.asdict(config))
    with run_folder.working_in(folder):
        log.info("run folder %s", folder)
        run_folder.write_environment(folder, run_folder.describe_environment("cpu", 0, seal))
        results: ReadingResults = {
            "sheet": {
                "run": config.sheet,
                "commitment": seal,
                "side": key.side,
                "real": sum(entry.kind == "real" for entry in key.entries),
                "generated": sum(entry.kind == "generated" for entry in key.entries),
                "classes": list(key.classes),
                "sources": {
                    kind: sorted({entry.source for entry in key.entries if entry.kind == kind}) for kind in KINDS
                },
            },
            "readers": [score_reader(reader, key) for reader in readers],
            "together": score_together(readers, key),
            "agreement": score_agreement(readers, key),
            "class_agreement": score_agreement(readers, key, classes=True),
            "images": score_images(readers, key),
            "notice": NOTICE,
        }
        write_text(folder / TABLE, _csv(readers, key))
        page = write_report(folder, results, pictures)
        run_folder.write_results(folder, results)
        _print(results)
        say("report: %s   table: %s", page, folder / TABLE)
    return Outcome({"run": str(folder), "report": str(page), **results})


def _csv(readers: Sequence[Reader], key: Key) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for reader in readers:
        for entry in key.entries:
            start = [reader.name, entry.number, entry.kind, entry.class_name, entry.source, entry.file]
            answer = reader.answers.get(entry.number)
            if answer is None:
                writer.writerow([*start, *[""] * 6])
                continue
            place = answer.mark or ("", "")
            writer.writerow([*start, answer.kind, answer.confidence, answer.class_name, *place, answer.seconds])
    return stream.getvalue()


def _print(results: ReadingResults) -> None:
    """Print the figures of each reader and of all together."""
    say("")
    say(
        "%-24s %-26s %-10s %-26s %-26s %s",
        "reader",
        "accuracy [95 %]",
        "chance: p",
        "sensitivity",
        "specificity",
        "AUC",
    )
    for reader in results["readers"]:
        area = "-" if reader["auc"] is None else number(reader["auc"]["value"])
        shares = [_share(reader["accuracy"]), _share(reader["sensitivity"]), _share(reader["specificity"])]
        p = p_value(reader["p_value"]).removeprefix("= ")
        say("%-24s %-26s %-10s %-26s %-26s %s", reader["name"][:24], shares[0], p, *shares[1:], area)
        if reader["unanswered"]:
            say("  left %d of %d images open", reader["unanswered"], reader["unanswered"] + reader["answered"])
    if results["together"]:
        one = results["together"]["accuracy"]
        ends = bracket(share(one["low"]), share(one["high"]))
        say("mean of the readers: %s %s, by resampling images", share(one["value"]), ends)
    for title, found in (("real or generated", results["agreement"]), ("class", results["class_agreement"])):
        if found and found["kappa"]:
            kappa = found["kappa"]
            ends = bracket(number(kappa["low"], 2), number(kappa["high"], 2))
            say(
                "agreement on %s: %s %s %s, %d images",
                title,
                found["name"],
                number(kappa["value"], 2),
                ends,
                found["images"],
            )
    verdict = judge(results)
    say("told apart: %s. %s", verdict.answer.lower(), " ".join(verdict.sentences))
    say("%s", NOTICE)


def _share(found: ShareResult) -> str:
    return f"{share(found['value'], 0)} {bracket(share(found['low'], 0), share(found['high'], 0))}"
