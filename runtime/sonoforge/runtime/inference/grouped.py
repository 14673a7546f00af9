"""How much images that come in groups, such as a patient's scans, tell about a mean, and about a change of it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

Z = 1.959963984540054
"""97.5 % of the normal distribution."""
PRIOR_GROUPS = 2
"""Two more errors, as in Agresti & Coull's interval (Am. Stat. 52, 1998); chosen by `training/studies/intervals`."""


def telling_groups(values: NDArray[np.bool_] | Floats, groups: NDArray[np.int64]) -> int:
    """Return how many groups (N,) hold a value (N,) other than the commonest end of 0..1, in size."""
    _, inverse = np.unique(groups, return_inverse=True)
    inside = np.bincount(inverse, weights=np.abs(values))
    return min(int((inside > 0).sum()), int((inside < np.bincount(inverse)).sum()))


def design_effect(values: NDArray[np.bool_] | Floats, groups: NDArray[np.int64]) -> float:
    """Return how many of these images (N,) tell as much about a mean as one independent image; at least 1.

    It is the variance of the mean as a ratio over groups, divided by the variance for independent images (Rao & Scott,
    Biometrics 48, 1992). If hardly any group has another value, that estimate is often far too small. `PRIOR_GROUPS`
    more such groups are therefore counted, with a correlation of one half, half-way to the largest effect that one
    chance for all groups allows: sum n^2 / sum n over the group sizes n. A single group counts as one image.
    """
    _, inverse = np.unique(groups, return_inverse=True)
    sizes = np.bincount(inverse).astype(np.float64)
    images, count = len(values), len(sizes)
    alike = float((sizes**2).sum() / images)
    if count == 1:
        return alike
    prior, telling, independent = (1 + alike) / 2, telling_groups(values, groups), float(np.var(values)) * images**2
    if telling == 0 or independent == 0:
        return prior
    between = float(((np.bincount(inverse, weights=values) - np.mean(values) * sizes) ** 2).sum()) * count / (count - 1)
    effect = between * (images - 1) / independent
    return max(1.0, (telling * effect + PRIOR_GROUPS * prior) / (telling + PRIOR_GROUPS))
