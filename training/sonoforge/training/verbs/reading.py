"""``sonoforge evaluate``: make a blinded page for expert readers (``--reading-sheet N``), and score their answers."""

from sonoforge.runtime.cli.answer import say
from sonoforge.runtime.cli.options import Outcome
from sonoforge.runtime.notice import NOTICE
from sonoforge.training.jobs.reading import TABLE, score, write
from sonoforge.training.reader_study.sheet import KEY
from sonoforge.training.reports.reading import log_reading
from sonoforge.training.run_folder import log_to
from sonoforge.training.settings.evaluation import EvaluateConfig


def main(config: EvaluateConfig) -> Outcome:
    """Write a sheet, or score the answers to one."""
    return _score(config) if config.answers else _write(config)


def _write(config: EvaluateConfig) -> Outcome:
    folder, page, results = write(config)
    half, side = results["images"] // 2, results["side"]
    with log_to(folder):
        say("%d real and %d generated images of %dx%d pixels, in a random order", half, half, side, side)
        say("for the readers: %s", page)
        say("keep to yourself until all have answered: %s", folder / KEY)
        say("sha256 of the key, as on the page: %s", results["commitment"])
        say("%s", NOTICE)
    return Outcome({"run": str(folder), **results}, f"sonoforge evaluate {folder} --answers FOLDER_OF_ANSWERS")


def _score(config: EvaluateConfig) -> Outcome:
    folder, page, results = score(config)
    with log_to(folder):
        log_reading(results)
        say("report: %s", page)
        say("table: %s", folder / TABLE)
        say("%s", NOTICE)
    return Outcome({"run": str(folder), "report": str(page), **results})
