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
LARGE = 0.1
"""A set that can only show gains above this share is called too small."""


class Gain(NamedTuple):
    """A gain in accuracy, as a share of the images; infinite if none can be expected to be shown."""

    least: float  # over the kinds of images that were simulated
    typical: float  # their median
    most: float


@functools.cache
def _simulated() -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return images per group (M,), logarithms of group counts (G,), and logarithms of the gains (M, G, 3)."""
    rows = read_table(TABLE).rows
    means, groups = ([*dict.fromkeys(float(row[name]) for row in rows)] for name in ("images per group", "groups"))
    gains = np.array([[float(row[name] or "inf") for name in Gain._fields] for row in rows])
    return np.array(means), np.log(groups), np.log(gains).reshape(len(means), len(groups), 3)


def smallest_gain(groups: int, images: int) -> Gain:
    """Return the smallest true gain that a paired comparison shows with 80 % power.

    Interpolate in the logarithms of the gain and of the number of groups. Above the largest number simulated, the gain
    falls with the root of the number of groups; below the smallest one it is infinite. More images per group than
    simulated count as the most simulated.

    Args:
        groups: Groups of tested images, at least 1; groups are patients, or near-duplicates.
        images: Images in them, at least as many.
    """
    means, known, gains = _simulated()
    wanted = math.log(groups)
    if wanted < known[0]:
        return Gain(math.inf, math.inf, math.inf)
    found = np.zeros(3)
    for row, share_of_row in _beside(means, images / groups):
        for column, share_of_column in _beside(known, wanted):
            found += share_of_row * share_of_column * gains[row, column]
    return Gain(*np.exp(found - max(0.0, wanted - known[-1]) / 2).tolist())


def _beside(known: NDArray[np.float64], wanted: float) -> list[tuple[int, float]]:
    """Return the places of the values on both sides, with their shares above 0."""
    place = float(np.interp(wanted, known, np.arange(len(known))))
    low, share = int(place), place % 1
    return [(low, 1 - share), (low + 1, share)] if share else [(low, 1.0)]


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
