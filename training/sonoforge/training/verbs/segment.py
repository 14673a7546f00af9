"""``sonoforge segment``: train a U-Net on each generator's pairs, and test it on real patients."""

import dataclasses
from pathlib import Path

from sonoforge.runtime.cli.answer import say
from sonoforge.runtime.cli.options import Outcome
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.jobs.segmentation import read_comparison, work
from sonoforge.training.reports.segmentation import tell_sets
from sonoforge.training.run_folder import log_to
from sonoforge.training.segmentation.figures import CASES
from sonoforge.training.settings.evaluation import SegmentConfig


def main(config: SegmentConfig) -> Outcome:
    """Compare generators and print the tables; or print the tables of a ``cases.csv``."""
    if config.from_cases:
        if dataclasses.replace(config, from_cases="") != SegmentConfig():
            raise SonoforgeError("--from cannot be combined with other options")
        sets = read_comparison(Path(config.from_cases))
        tell_sets(sets)
        return Outcome({"sets": sets})
    folder, page, results = work(config)
    with log_to(folder):
        tell_sets(results["sets"])
        say("report: %s", page)
        say("scores of every case: %s", folder / CASES)
    return Outcome({"run": str(folder), **results}, f"sonoforge segment --from {folder / CASES}")
