"""``sonoforge gan train``: train one generator, for one class or all, in its own run folder."""

import logging

from sonoforge.runtime.cli.answer import say
from sonoforge.runtime.cli.options import CONTINUE, Outcome
from sonoforge.training.gan.curves import OVER_TIME, PICTURE
from sonoforge.training.jobs import generators
from sonoforge.training.progress import UNFINISHED
from sonoforge.training.settings.gan import GanTrainConfig

log = logging.getLogger(__name__)


def main(config: GanTrainConfig) -> Outcome:
    """Train, continue, or report that it is done."""
    run = generators.work(config)
    result = {"run": str(run.folder), "finished": run.finished}
    if run.checkpoint is None:
        log.info(UNFINISHED)
        return Outcome(result, CONTINUE)
    say("samples: %s   over time: %s", run.folder / "samples", run.folder / OVER_TIME)
    if run.measured:
        say("curves: %s   best checkpoint: %s", run.folder / PICTURE, run.best.name if run.best else "none")
    if not run.finished:
        log.info(UNFINISHED)
    which = "--checkpoint best " if run.measured and run.best else ""
    following = f"sonoforge gan sample {run.folder} {which}--count 64"
    return Outcome(
        {**run.results, **result, "checkpoint": str(run.checkpoint)}, following if run.finished else CONTINUE
    )


def check(config: GanTrainConfig) -> str:
    """Check all that the training needs, and return what it would do."""
    return generators.check(config).describe()
