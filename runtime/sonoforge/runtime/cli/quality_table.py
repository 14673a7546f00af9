"""Print the figures of ``sonoforge quality`` as text, a line for each file."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from sonoforge.runtime.cli.answer import say
from sonoforge.runtime.images.inputs import Entry, cell, column_width, printable
from sonoforge.runtime.images.quality_metrics import METRICS, SCAN, flag_in_words
from sonoforge.runtime.images.repeats import in_words

log = logging.getLogger(__name__)


class QualityTable:
    """Prints figures as lines of one table."""

    def __init__(self, files: Sequence[str]) -> None:
        """Print the heading, with a column wide enough for these names, if there are any."""
        self._width = column_width(files)
        if files:
            titles = [*(metric.title for metric in METRICS.values()), *(metric.title for metric in SCAN.values())]
            say("%-*s  %s", self._width, "file", " ".join(f"{title:>7}" for title in titles))

    def show(self, entry: Entry) -> None:
        """Print one file's figures, a failure on stderr."""
        name = cell(entry["file"], self._width)
        if not entry["ok"]:
            error = entry["error"]
            log.error("%-*s  error (%s): %s", self._width, name, error["code"], printable(error["message"]))
            return
        quality, scan = entry["quality"], entry["scan"]
        cells = [f"{quality[key]:>7{metric.form}}" for key, metric in METRICS.items()]
        cells += [f"{'-' if x is None else format(x, SCAN[key].form):>7}" for key, x in scan["metrics"].items()]
        notes = [*entry["remarks"], *map(flag_in_words, quality["flags"])]
        for flag in scan["flags"]:
            metric, _, side = flag.rpartition("_")
            notes.append(f"{SCAN[metric].title} {side}")
        if scan["lesion"] and scan["lesion"]["gcnr"] is not None:
            notes.append(f"lesion gCNR {scan['lesion']['gcnr']:.2f}")
        if entry["marks"]:
            notes.append(f"burned in: {entry['marks']}")
        notes += [printable(sentence) for sentence in in_words(entry)]
        say("%-*s  %s%s", self._width, name, " ".join(cells), f"  [{'; '.join(notes)}]" if notes else "")
