"""``sonoforge crossval``: does a trained generator help?  k folds, every arm on the same folds and seeds."""

import dataclasses
import logging
from pathlib import Path

from sonoforge.runtime.cli.answer import say
from sonoforge.runtime.cli.options import Outcome
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training import run_folder
from sonoforge.training.crossval.comparison import compare_once
from sonoforge.training.crossval.evidence import read_answers
from sonoforge.training.crossval.settings import resolve
from sonoforge.training.data.data_option import data_flags
from sonoforge.training.data.load import load_images
from sonoforge.training.reports.run.terminal import log_figures, log_systems, log_table
from sonoforge.training.statistics.tables import evaluate
from sonoforge.training.verbs.settings.crossval import CrossvalConfig

log = logging.getLogger(__name__)


def main(config: CrossvalConfig) -> Outcome:
    """Run the comparison in a run folder and write its tables; or print those of a ``predictions.csv`` again."""
    if config.from_predictions:
        return _print_again(config)
    settings = resolve(config)
    cache = load_images(settings.source)
    settings = settings.for_images(cache)
    asked = {key: value for key, value in settings.asked.items() if key != "from_predictions"}
    folder = run_folder.open_run(Path(config.out), f"crossval-{cache.dataset.name}", asked, resume=config.resume)
    with run_folder.working_in(folder):
        results = compare_once(folder, cache, settings)
        log_table(results)
    protocol = "" if config.protocol in (CrossvalConfig().protocol, "plain") else f" --protocol {config.protocol}"
    return Outcome({"run": str(folder), **results}, f"sonoforge run {data_flags(config.data)}{protocol}")


def _print_again(config: CrossvalConfig) -> Outcome:
    """Compute every figure from the predictions alone.

    Raises:
        SonoforgeError: Other options are given, too, or the file is not such a table.
    """
    if dataclasses.replace(config, from_predictions="") != CrossvalConfig():
        raise SonoforgeError("--from cannot be combined with other options")
    parts, classes, doubt = read_answers(Path(config.from_predictions))
    protocols = dict.fromkeys(part.protocol for part in parts)
    if len(protocols) > 1:
        raise SonoforgeError(
            f"{config.from_predictions}: has answers under {' and '.join(protocols)}; give those of one protocol, or "
            "compare them by training/studies/leakage.py"
        )
    evaluation = evaluate(parts, classes)
    _say_doubt(doubt)
    log_figures(classes, evaluation, doubt=doubt)
    log_systems(classes, evaluation["arms"], doubt=doubt)
    return Outcome({"classes": list(classes), "doubt": doubt, **evaluation})


def _say_doubt(doubt: str) -> None:
    """Warn of a table that no run vouches for."""
    if doubt:
        say("%s; no run folder beside the table vouches for it", doubt)
