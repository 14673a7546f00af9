"""``sonoforge compare RUN --checklists``: TRIPOD+AI, CLAIM and a data sheet, filled from a finished run.

JSON (``--json``): ``run``, ``page`` and ``text`` (files in it), and ``checklists``: a list of ``{"name", "source",
"counts", "items"}``, each item ``{"section", "number", "asks", "status", "answer", "left", "where"}``.
"""

from pathlib import Path

from sonoforge.runtime.cli.answer import say
from sonoforge.runtime.cli.options import Outcome
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.notice import NOTICE
from sonoforge.training.reports.checklists import fill_checklists, read_run, write_checklists
from sonoforge.training.verbs.settings.crossval import CompareConfig


def main(config: CompareConfig) -> Outcome:
    """Fill in the checklists and write them into the run folder."""
    if len(config.runs) > 1 or config.arms:
        raise SonoforgeError("--checklists: takes one run and no --arms")
    folder = Path(config.runs[0])
    run = read_run(folder)
    filled = fill_checklists(run)
    page, text = write_checklists(folder, run, filled)
    for one in filled:
        say("%-12s %d items: %s", one.checklist.name, len(one.rows), one.said)
    say("page: %s   to paste into a supplement: %s", page, text)
    say("%s", NOTICE)
    checklists = [
        {
            "name": one.checklist.name,
            "source": one.checklist.source,
            "counts": one.counts,
            "items": [
                {
                    **{key: getattr(row.item, key) for key in ("section", "number", "asks")},
                    **{"status": row.status, "answer": row.text, "left": row.left, "where": row.where},
                }
                for row in one.rows
            ],
        }
        for one in filled
    ]
    return Outcome({"run": str(folder), "page": str(page), "text": str(text), "checklists": checklists})
