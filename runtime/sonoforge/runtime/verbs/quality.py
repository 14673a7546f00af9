"""``sonoforge quality``: measure the quality of each image, offline."""

from sonoforge.runtime.cli.answer import say
from sonoforge.runtime.cli.options import Outcome
from sonoforge.runtime.images.quality_metrics import SCAN
from sonoforge.runtime.jobs.measuring import measure_files
from sonoforge.runtime.notice import NOTICE
from sonoforge.runtime.settings import QualityConfig


def main(config: QualityConfig) -> Outcome:
    """Measure every file."""
    measured = measure_files(config)
    summary = measured["summary"]
    if not measured["reference"]["bands"]:
        say("no reference for %s: the bundle has no bands of them", ", ".join(SCAN))
    counts = (summary[key] for key in ("ok", "files", "quality_flagged"))
    say("%d of %d files measured, %d with a fault.\n%s", *counts, NOTICE)
    return Outcome(measured, exit_code=2 if summary["failed"] else 0)
