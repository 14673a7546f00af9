"""Say before any training which gain in accuracy a set of images can show: the power of the paired comparison.

``smallest_gain.csv`` holds what ``training/studies/power`` simulated from kept answers: the gain that `verdict.judge`
calls better in 80 % of comparisons, by images per group and number of groups.
"""

import functools
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.csv_tables import read_table
from sonoforge.training.statistics.results import Record
from sonoforge.training.statistics.wording import counted, points

TABLE = Path(__file__).with_suffix(".csv")
_NONE = 1e300  # a gain above 1 cannot be, so what is interpolated from this is none
LARGE = 0.1
"""A set that can only show gains above this share is called too small."""


class Gain(NamedTuple):
    """A gain in accuracy, as a share of the images; infinite if none can be expected to be shown."""

    least: float  # over the kinds of images that were simulated
    typical: float  # their median
    most: float


@functools.cache
def _simulated() -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return images per group (M,), logarithms of group counts (G,), and logarithms of the gains (3, M, G)."""
    rows = read_table(TABLE).rows
    means, groups = ([*dict.fromkeys(float(row[name]) for row in rows)] for name in ("images per group", "groups"))
    gains = np.array([[float(row[name] or _NONE) for row in rows] for name in Gain._fields])
    return np.array(means), np.log(groups), np.log(gains).reshape(3, len(means), len(groups))


def smallest_gain(groups: int, images: int) -> Gain:
    """Return the smallest true gain that a paired comparison shows with 80 % power.

    Interpolate in the logarithms of the gain and of the number of groups. Above the largest number simulated, the gain
    falls with the root of the number of groups; below the smallest one, and next to a set that shows none, it is
    infinite. More images per group than simulated count as the most simulated.

    Args:
        groups: Groups of tested images, at least 1; groups are patients, or near-duplicates.
        images: Images in them, at least as many.
    """
    means, known, gains = _simulated()
    wanted = math.log(groups)
    by_mean = ([np.interp(wanted, known, row) for row in own] for own in gains)
    found = [float(np.interp(images / groups, means, own)) - max(0.0, wanted - known[-1]) / 2 for own in by_mean]
    return Gain(*(math.exp(own) if own < 0 and wanted >= known[0] else math.inf for own in found))


def describe_gain(groups: int, images: int) -> Record:
    """Return `smallest_gain` ready for JSON, with a sentence, and whether the set is ``large_enough``.

    ``least``, ``typical`` and ``most`` are shares; None where no gain can be expected to be shown.
    """
    gain = smallest_gain(groups, images)
    ends = {name: value if math.isfinite(value) else None for name, value in gain._asdict().items()}
    units, large = f"{counted(images, 'image')} in {counted(groups, 'group')}", gain.typical <= LARGE
    how = "80\u00a0% power, simulated from kept answers"
    if ends["typical"] is None:
        says = f"{units} are too few to show any gain in accuracy ({how})."
    else:
        typical, least, most = (points(ends[name], sign="") for name in ("typical", "least", "most"))
        kinds = f"{least} to {most}" if ends["most"] else f"{least} or more"
        says = (
            f"With {units}, each tested once, a paired comparison can be expected to show a gain of about {typical} "
            f"points of accuracy or more ({how}; {kinds}, by the kind of images); a smaller one will most likely stay "
            "open."
        )
        says = says if large else f"Too few images to tell whether training improves: w{says[1:]}"
    return {"groups": groups, "images": images, **ends, "large_enough": large, "says": says}
