"""What each metric of image quality is, and what to tell a person when it is out of range: ``quality_table.json``.

``METRICS`` are measured by `quality_metrics.measure` in the network's view, ``SCAN`` by `scan_metrics.measure` in the
scan's own pixels, ``LESION`` by `lesion_contrast.gcnr` with a mask, ``CLIP`` by `frame_motion` between the frames of
a clip.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple


class Band(NamedTuple):
    """What a metric is between in nearly all training images."""

    low: float
    high: float


class ViewMetric(NamedTuple):
    """A metric of the view; a side of its band without words is no fault: a scan is never too highly resolved."""

    title: str  # heading of its column
    form: str  # of its value there
    low: str = ""  # what a scan below the band is, in words
    high: str = ""  # what a scan above it is


class Metric(NamedTuple):
    """A metric of a scan, a lesion or a clip."""

    title: str  # heading of its column
    form: str  # of its value there
    unit: str  # of the value
    range: str  # what values there can be
    better: str  # ``higher`` or ``lower``; a value is flagged on the other side of its band
    source: str  # paper and section, or that it is our own
    advice: str  # sentence for a flagged scan


_TABLE = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
METRICS = {name: ViewMetric(**row) for name, row in _TABLE["view"].items()}
SCAN, LESION, CLIP = ({n: Metric(**row) for n, row in _TABLE[kind].items()} for kind in ("scan", "lesion", "clip"))


def flag_in_words(flag: str) -> str:
    """Return what a flag of the view says, such as ``blurred`` for ``sharpness_low``."""
    name, _, side = flag.rpartition("_")
    return str(getattr(METRICS[name], side))
