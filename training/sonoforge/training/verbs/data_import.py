"""``sonoforge data import SET ...``: write a data set of classes from a published one, a URL, or a simulation."""

import logging
import shlex

from sonoforge.runtime.cli.answer import say
from sonoforge.runtime.cli.options import Outcome
from sonoforge.training.jobs.importing import import_set
from sonoforge.training.settings.data import PHANTOM, URL, DataImportConfig

log = logging.getLogger(__name__)


def main(config: DataImportConfig) -> Outcome:
    """Write the set and print what it holds."""
    result = import_set(config)
    folder = shlex.quote(result["folder"])
    if config.set == URL:
        say("%s: %d files, %d of them copied now", result["folder"], result["files"], result["copied"])
        return Outcome(result, f"sonoforge data audit --data {folder}")
    images = result["images"]
    counts = ", ".join(f"{number} {name}" for name, number in images.items())
    if config.set != PHANTOM:
        say("%s: %d pictures (%s)", result["folder"], sum(images.values()), counts)
        return Outcome(result, f"sonoforge data audit --data {folder}" + ":CLASS" * config.pictures.multilabel)
    total, seconds = config.phantom.images, result["seconds"]
    if missing := [name for name, number in images.items() if not number]:
        log.warning("no image of class %s: raise --images", ", ".join(missing))
    say("%s: %d pictures (%s) of %d phantoms", result["folder"], total, counts, result["groups"])
    say("%.1f s, %.0f pictures a second with writing", seconds, total / seconds)
    return Outcome(result, f"sonoforge run --data {folder}")
