"""The area under the ROC curve of one class against the rest, and DeLong's test of two on the same images.

DeLong's test knows no groups: on images that repeat each other it finds differences where there are none.  So it is
used in Obuchowski's form, which sums over groups.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from sonoforge.training.statistics.intervals import Floats, Labels


class DeLongTest(NamedTuple):
    """Standard error of a difference of two areas, and its two-sided p value."""

    standard_error: float
    p_value: float


def weighted_auc(positive: NDArray[np.bool_], scores: Floats, weights: Floats) -> Floats:
    """Area under the ROC curve when each image counts as often as its weight says.

    By the Mann-Whitney statistic, ties as half (Hanley & McNeil, Radiology 143, 1982).

    Args:
        positive: (N,) whether the image is of the class.
        scores: (N,) higher for that class.
        weights: (R, N).

    Returns:
        (R,); nan where no image of the class, or none of the others, has a weight.
    """
    order = np.argsort(scores, kind="stable")
    first = np.flatnonzero(np.diff(scores[order], prepend=-np.inf))  # of each different score
    inside, outside = (
        np.add.reduceat(np.where(kind[order], weights[:, order], 0.0), first, axis=1) for kind in (positive, ~positive)
    )
    wins = (inside * (np.cumsum(outside, axis=1) - outside / 2)).sum(axis=1)
    pairs = inside.sum(axis=1) * outside.sum(axis=1)
    areas: Floats = np.divide(wins, pairs, out=np.full(len(weights), np.nan), where=pairs > 0)
    return areas


def delong_test(positive: NDArray[np.bool_], first: Floats, second: Floats, groups: Labels) -> DeLongTest:
    """Test whether two arms' scores (N,) tell one class from the rest equally well, on images in groups (N,).

    DeLong, DeLong & Clarke-Pearson (Biometrics 44, 1988) with one image in each group, else Obuchowski (Biometrics 53,
    1997), whose sums over groups also count a group with images of both kinds.  nan where the class, or the rest,
    comes in fewer than two groups.
    """
    once = np.ones((1, len(first)))
    (change,) = weighted_auc(positive, second, once) - weighted_auc(positive, first, once)
    parts = [np.stack(_placements(positive, scores)) for scores in (first, second)]
    error = _standard_error(positive, parts[1] - parts[0], groups)
    if error == 0:
        return DeLongTest(error, 1.0 if change == 0 else 0.0)
    return DeLongTest(error, float(2 * stats.norm.sf(abs(change) / error)))


def _placements(positive: NDArray[np.bool_], scores: Floats) -> tuple[Floats, Floats]:
    """Share of the images of the other kind that each image (N,) beats, ties as half; 0 for images of the other kind.

    The structural components V10 of the class and V01 of the rest, by ranks (Sun & Xu, IEEE Signal Process. Lett. 21,
    2014).
    """
    everywhere = stats.rankdata(scores)
    inside, outside = np.zeros(len(scores)), np.zeros(len(scores))
    if positive.any() and not positive.all():
        inside[positive] = (everywhere[positive] - stats.rankdata(scores[positive])) / (~positive).sum()
        outside[~positive] = 1 - (everywhere[~positive] - stats.rankdata(scores[~positive])) / positive.sum()
    return inside, outside


def _standard_error(positive: NDArray[np.bool_], parts: Floats, groups: Labels) -> float:
    """Standard error of an area, or of a difference of areas, from its components (2, N), see `_placements`."""
    _, group = np.unique(groups, return_inverse=True)
    sums, counts, sizes = [], [], []
    for kind, part in ((positive, parts[0]), (~positive, parts[1])):
        own = np.bincount(group, weights=kind.astype(np.float64))
        if (own > 0).sum() < 2:
            return float("nan")
        sums.append(np.bincount(group, weights=part) - own * part[kind].mean())
        counts.append(int((own > 0).sum()))
        sizes.append(float(kind.sum()))
    variance = 0.0
    for total, count, size in zip(sums, counts, sizes, strict=True):
        variance += float((total**2).sum()) * count / ((count - 1) * size * size)
    both = len(np.unique(group))
    variance += 2 * float((sums[0] * sums[1]).sum()) * both / ((both - 1) * sizes[0] * sizes[1])
    return float(np.sqrt(max(variance, 0.0)))
