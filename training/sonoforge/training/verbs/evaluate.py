"""``sonoforge evaluate REAL FAKE``: measure if generated images are realistic, diverse or copied, by stated protocols.

JSON (``--json``) is the ``results.json`` of the run folder, and ``run`` and ``report``, where it is: ``real`` and
``fake`` (what was compared), ``n`` (images per side of matched values and floors), ``protocol`` and ``protocol_id``,
``metrics`` (a list of figures, each ``{"name", "title", "space", "question", "better", "value", "standard_error",
"matched", "matched_low", "matched_high", "floor", "floor_low", "floor_high", "ratio", "n", "repeats", "note"}``),
``copies``, ``projections``, ``not_measured`` (``name`` and ``why``), ``warnings``, ``verdicts``, ``seconds``,
``notice``.  With ``--reading-sheet`` and ``--answers``, see `reading`.
"""

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
