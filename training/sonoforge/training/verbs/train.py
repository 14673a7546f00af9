"""``sonoforge train``: train one classifier, calibrated and judged on groups that it never saw."""

from sonoforge.runtime.cli.answer import say
from sonoforge.runtime.cli.options import Outcome
from sonoforge.training.jobs import training
from sonoforge.training.run_folder import log_to
from sonoforge.training.settings.crossval import TrainConfig
from sonoforge.training.statistics.results import interval_text


def main(config: TrainConfig) -> Outcome:
    """Train, judge and calibrate one classifier in a run folder that ``export`` reads."""
    folder, results = training.work(training.prepare(config))
    measured = results["evaluation"]
    with log_to(folder):
        accuracy, area = interval_text(measured["accuracy"]), measured["macro_auc"]["value"]
        for doubt in results["doubts"]:
            say("%s", doubt)
        say("%d held-out images: accuracy %s, macro-AUC %.3f", results["held_out"], accuracy, area)
    return Outcome({"run": str(folder), **results}, f"sonoforge export {folder}")


def check(config: TrainConfig) -> str:
    """Check all that the training needs, and return what it would do."""
    return training.prepare(config).describe()
