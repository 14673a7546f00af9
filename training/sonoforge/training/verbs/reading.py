"""``sonoforge evaluate SHEET --answers FILES``: could the readers tell generated images from real ones?

With ``--json``, print the run folder's ``results.json`` (`sonoforge.training.reader_study.scores.ReadingResults`),
with its place as ``run`` and ``report``.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sonoforge.runtime.cli.answer import say
from sonoforge.runtime.cli.options import Outcome
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.notice import NOTICE
from sonoforge.training import run_folder
from sonoforge.training.reader_study.answers import Reader, read_readers
from sonoforge.training.reader_study.automatic import FOLDER
from sonoforge.training.reader_study.scores import (
    ReadingResults,
    score_agreement,
    score_images,
    score_reader,
    score_together,
)
from sonoforge.training.reader_study.sheet import KEY, KINDS, Key, read_key
from sonoforge.training.reports.reading import log_reading, write_report
from sonoforge.training.reports.reading_sheet import PAGE, read_pictures
from sonoforge.training.verbs.settings.evaluation import EvaluateConfig

TABLE = "answers.csv"
_COLUMNS = (
    *("reader", "image", "kind", "class", "source", "file"),
    *("answer", "confidence", "class_given", "x", "y", "seconds"),
)


def main(config: EvaluateConfig) -> Outcome:
    """Check the answers against the sealed key, score them, and write the run folder."""
    if dataclasses.replace(config, real="", answers=(), out=config.out) != EvaluateConfig(out=config.out):
        raise SonoforgeError("--answers: takes the folder of a reading sheet, and no other option but --out")
    sheet = Path(config.real)
    if not config.real or not sheet.is_dir():
        raise SonoforgeError(f"REAL: {config.real or 'missing'}, expected a folder made by evaluate --reading-sheet")
    key, seal = read_key(sheet / KEY)
    pictures = read_pictures(sheet / PAGE, key, seal)
    readers = read_readers([Path(path) for path in config.answers], key, seal)
    automatic = read_readers([sheet / FOLDER], key, seal) if (sheet / FOLDER).is_dir() else []
    folder = run_folder.open_run(
        Path(config.out), "reading", {"sheet": config.real, "answers": config.answers}, resume=False
    )
    with run_folder.working_in(folder):
        run_folder.write_environment(folder, run_folder.describe_environment("cpu", 0, seal))
        results: ReadingResults = {
            "sheet": {
                "run": config.real,
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
            "automatic": [score_reader(reader, key) for reader in automatic],
            "images": score_images(readers, key),
            "notice": NOTICE,
        }
        run_folder.write_table(folder / TABLE, _COLUMNS, _rows([*readers, *automatic], key))
        page = write_report(folder, results, pictures)
        run_folder.write_results(folder, results)
        log_reading(results)
        say("report: %s", page)
        say("table: %s", folder / TABLE)
        say("%s", NOTICE)
    return Outcome({"run": str(folder), "report": str(page), **results})


def _rows(readers: Sequence[Reader], key: Key) -> list[dict[str, Any]]:
    """Return the table of answers; an image that a reader left out has none."""
    rows = []
    for reader in readers:
        for entry in key.entries:
            row = [reader.name, entry.number, entry.kind, entry.class_name, entry.source, entry.file]
            if answer := reader.answers.get(entry.number):
                row += [answer.kind, answer.confidence, answer.class_name, *(answer.mark or ("", "")), answer.seconds]
            rows.append(dict(zip(_COLUMNS, row, strict=False)))
    return rows
