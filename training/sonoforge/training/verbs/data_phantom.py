"""``sonoforge data phantom OUT``: write a simulated breast ultrasound data set."""

from __future__ import annotations

import logging
import shlex
import time
from dataclasses import dataclass

from sonoforge.runtime.cli import options as commandline
from sonoforge.training.phantom.dataset import BALANCE, CLASSES, MARKED, write_phantom_set
from sonoforge.training.phantom.lesion import ideal_observer_accuracy

log = logging.getLogger(__name__)

EXAMPLES = """
sonoforge data phantom phantom-set
sonoforge data phantom phantom-set --images 1000 --seed 7 --size 256
sonoforge data phantom balanced-set --balance 1,1,1 --marks 0
"""


@dataclass(frozen=True)
class Config:
    """Settings of ``data phantom``."""

    out: str = commandline.option(help="folder to write, new or empty", positional=True)
    images: int = commandline.option(400, help="pictures in all", minimum=1)
    seed: int = commandline.option(0, help="the same seed gives the same pixels", minimum=0)
    size: int = commandline.option(256, help="height and width, pixels over 40 mm", minimum=64, maximum=1024)
    balance: tuple[float, ...] = commandline.option(BALANCE, help="weights of " + ", ".join(CLASSES), minimum=0)
    marks: float = commandline.option(
        MARKED, help="share of phantoms with calipers, ruler or text burned in", minimum=0, maximum=1
    )


def main(config: Config) -> commandline.Outcome:
    """Write the set and say what is in it.

    Raises:
        SonoforgeError: The folder holds something or cannot be written, or a setting is out of range.
    """
    start = time.perf_counter()
    written = write_phantom_set(config.out, config.images, config.seed, config.size, config.balance, config.marks)
    seconds = time.perf_counter() - start
    missing = [name for name, number in written.images.items() if not number]
    if missing:
        log.warning("no picture of class %s: raise --images or change --balance", ", ".join(missing))
    counts = ", ".join(f"{number} {name}" for name, number in written.images.items())
    log.info("%s: %d pictures (%s) of %d phantoms", config.out, config.images, counts, written.groups)
    log.info("%.1f s, %.0f pictures a second with writing", seconds, config.images / seconds)
    ceiling = None
    if config.balance[1] + config.balance[2] > 0:
        share = config.balance[2] / (config.balance[1] + config.balance[2])
        ceiling = ideal_observer_accuracy(share) if 0 < share < 1 else 1.0
        log.info("an ideal reader of the descriptors tells benign from malignant in %.1f %%", 100 * ceiling)
    result = {
        "folder": config.out,
        "images": written.images,
        "groups": written.groups,
        "seed": config.seed,
        "size": config.size,
        "ideal_benign_malignant_accuracy": ceiling,
        "seconds": round(seconds, 3),
    }
    return commandline.Outcome(result, f"sonoforge run --data {shlex.quote(config.out)}")
