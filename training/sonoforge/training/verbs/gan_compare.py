"""``sonoforge gan compare``: train recipes over a grid of settings, measure at milestones, write a paper's tables."""

import logging

from sonoforge.runtime.cli.options import CONTINUE, Outcome
from sonoforge.training.jobs.race import work
from sonoforge.training.progress import UNFINISHED
from sonoforge.training.reports import gan_comparison as page
from sonoforge.training.run_folder import log_to
from sonoforge.training.settings.gan import GanCompareConfig

log = logging.getLogger(__name__)


def main(config: GanCompareConfig) -> Outcome:
    """Compare, and print the figures of every milestone."""
    race = work(config)
    result = {"run": str(race.folder), "finished": race.finished, "rows": race.rows}
    with log_to(race.folder):
        if not race.finished:
            log.info(UNFINISHED)
            return Outcome(result, CONTINUE)
        best = page.log_race(race.folder, race.rows, published=bool(race.claims))
    result |= {"tables": str(race.folder / page.TABLES), "claims": race.claims, "figures": race.figures}
    return Outcome(result, f"sonoforge gan sample {race.folder / best['run']} --checkpoint {best['step']}")
