"""``sonoforge gan search``: search for the settings with the lowest KID, or the cells of both networks of GA-GAN."""

from sonoforge.runtime.cli.answer import say, tell
from sonoforge.runtime.cli.options import Outcome
from sonoforge.training.jobs.search import work
from sonoforge.training.reports import search as page
from sonoforge.training.run_folder import log_to
from sonoforge.training.settings.gan import GanSearchConfig


def main(config: GanSearchConfig) -> Outcome:
    """Search, and print the best of each study."""
    folder, studies, command = work(config)
    metric = studies[0].metric.upper()
    with log_to(folder):
        page.log_search(studies)
        tell(f"the lowest {metric} is the best of many trials on the images it is shown for, so optimistic")
        say("page: %s", folder / page.REPORT)
        say("all trials: %s", folder / page.TABLE)
    paths = {"run": str(folder), "report": str(folder / page.REPORT), "table": str(folder / page.TABLE)}
    result = {**paths, "studies": {own.name: own.summary() for own in studies}}
    return Outcome(result, command or "sonoforge gan search --help")
