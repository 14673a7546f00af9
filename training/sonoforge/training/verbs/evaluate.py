"""``sonoforge evaluate REAL FAKE``: measure if generated images are realistic, diverse or copied."""

import shlex

from sonoforge.runtime.cli.answer import say
from sonoforge.runtime.cli.options import Outcome, steps
from sonoforge.training.jobs.evaluation import TABLE, work
from sonoforge.training.reports.evaluation import log_evaluation
from sonoforge.training.run_folder import log_to
from sonoforge.training.settings.evaluation import EvaluateConfig


def main(config: EvaluateConfig) -> Outcome:
    """Measure, and print figures and answers."""
    folder, page, results = work(config)
    with log_to(folder):
        log_evaluation(results)
        say("report: %s", page)
        say("table: %s", folder / TABLE)
    export = f"sonoforge export {shlex.quote(config.real)} --evidence {shlex.quote(str(folder))}"
    following = steps(f"open {page} in a browser", "" if config.fake else export)
    return Outcome({"run": str(folder), "report": str(page), **results}, following)
