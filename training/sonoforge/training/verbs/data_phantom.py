"""``sonoforge data phantom OUT``: write a simulated breast ultrasound data set."""

import logging
import shlex
import time

from sonoforge.runtime.cli.answer import say
from sonoforge.runtime.cli.options import Outcome
from sonoforge.training.phantom.dataset import write_phantom_set
from sonoforge.training.phantom.lesion import ideal_observer_accuracy
from sonoforge.training.verbs.settings.data import DataPhantomConfig

log = logging.getLogger(__name__)


def main(config: DataPhantomConfig) -> Outcome:
    """Write the set and print what it holds."""
    start = time.perf_counter()
    written = write_phantom_set(config.out, config.images, config.seed, config.size, config.balance, config.marks)
    seconds = time.perf_counter() - start
    missing = [name for name, number in written.images.items() if not number]
    if missing:
        log.warning("no picture of class %s: raise --images or change --balance", ", ".join(missing))
    counts = ", ".join(f"{number} {name}" for name, number in written.images.items())
    say("%s: %d pictures (%s) of %d phantoms", config.out, config.images, counts, written.groups)
    say("%.1f s, %.0f pictures a second with writing", seconds, config.images / seconds)
    ceiling = None
    if config.balance[1] + config.balance[2] > 0:
        share = config.balance[2] / (config.balance[1] + config.balance[2])
        ceiling = ideal_observer_accuracy(share) if 0 < share < 1 else 1.0
        say("an ideal reader of the descriptors tells benign from malignant in %.1f %%", 100 * ceiling)
    result = {
        "folder": config.out,
        "images": written.images,
        "groups": written.groups,
        "seed": config.seed,
        "size": config.size,
        "ideal_benign_malignant_accuracy": ceiling,
        "seconds": round(seconds, 3),
    }
    return Outcome(result, f"sonoforge run --data {shlex.quote(config.out)}")
