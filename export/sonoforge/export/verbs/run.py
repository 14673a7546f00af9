"""``sonoforge run``: turn images into evidence, a verified bundle and a report with one command."""

import shlex

from sonoforge.export import whole_run
from sonoforge.export.settings import RunConfig
from sonoforge.runtime.cli.answer import say
from sonoforge.runtime.cli.options import Outcome, steps
from sonoforge.runtime.notice import NOTICE
from sonoforge.runtime.verbs import verify
from sonoforge.training.reports.run.page import REPORT, TABLES
from sonoforge.training.reports.run.terminal import log_run
from sonoforge.training.run_folder import log_to


def main(config: RunConfig) -> Outcome:
    """Do the whole job in one run folder; ``--resume`` keeps the finished parts of an interrupted run."""
    run = whole_run.work(config)
    report, tables, bundle = (run.folder / name for name in (REPORT, TABLES, "bundle"))
    with log_to(run.folder):
        log_run(run)
        verify.show(run.results["verify"])
        say("report: %s", report)
        say("its tables for a paper, CSV and LaTeX: %s", tables)
        say("bundle: %s", bundle)
        say("%s", NOTICE)
    dataset = run.cache.dataset
    example = shlex.quote(str(dataset.file(dataset.items[0].path)))
    following = steps(
        f"open {report} in a browser; for a paper, take the tables in {tables}",
        f"sonoforge compare {run.folder} --checklists",
        "" if run.results["doubts"] else f"sonoforge classify {example} --bundle {bundle}",
    )
    paths = {"run": run.folder, "report": report, "tables": tables, "bundle": bundle}
    return Outcome({**{name: str(path) for name, path in paths.items()}, **run.results}, following)


def check(config: RunConfig) -> str:
    """Check all that the run needs, and return what it would do."""
    return whole_run.prepare(config).describe()
