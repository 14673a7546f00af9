"""Decide which pictures of a set show the same scan, by what unrelated pictures of that set score.

The pairs that stand out most in `pose_search` are laid on each other (`alignment`).  Nearly all of them are unrelated:
they are the set's own null distribution, and a pair counts only far outside it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from sonoforge.training.copies.pose_alignment import Alignment, align
from sonoforge.training.copies.pose_search import Found, Matrix, Picture, Start, search, start_of

Groups = NDArray[np.int64]

_CANDIDATES = 4  # pairs to lay on each other, for each picture of the set
_BEYOND = 6.0  # standard deviations of the null distribution of the correlations' Fisher transform
# Little more than BUSI's null distribution gives. Sets too small to have one, or as unlike as simulated ones, do not go
# below.
_LOWEST = 0.45


class Match(NamedTuple):
    """Two pictures that show the same scan."""

    query: int  # index of the picture whose middle was found
    key: int  # index of the picture in which it was found
    correlation: float  # of fine detail in their overlap
    overlap: float  # share of the area that both show
    mirrored: bool
    upside_down: bool
    inverted: bool
    matrix: Matrix  # query (flipped first, if it is) to key, in pixels of `pose_search.shrink`

    @property
    def zoom(self) -> float:
        """How much larger the query shows things than the key."""
        return float(1 / np.sqrt(abs(np.linalg.det(self.matrix[:, :2]))))


class Copies(NamedTuple):
    """What was found in a set."""

    matches: list[Match]  # the most alike first
    threshold: float  # correlation from which two pictures count as one scan
    compared: int  # number of pairs compared


def find_copies(
    pictures: Sequence[Picture], groups: Groups, advance: Callable[[int], None] = lambda done: None
) -> Copies:
    """Find the pairs of N pictures that show one scan, but for pairs of one group; ``advance`` counts to 2 N."""
    # Both steps run in threads of their own. Their products are too small to be shared out once more: that took four
    # times as long on two cores.
    with threadpool_limits(1, "blas"):
        return _find_copies(pictures, groups, advance)


def _find_copies(pictures: Sequence[Picture], groups: Groups, advance: Callable[[int], None]) -> Copies:
    count = len(pictures)
    found = search(pictures, advance)
    first, second = candidates(found, groups)

    def match(pair: tuple[int, int]) -> Match:
        key, query = pair if found.scores[pair] >= found.scores[pair[::-1]] else pair[::-1]
        start = start_of(int(found.codes[key, query]), pictures[query], pictures[key])
        return _match(query, key, start, align(pictures[query], pictures[key], start))

    matches = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done, one in enumerate(pool.map(match, zip(first.tolist(), second.tolist(), strict=True)), start=1):
            matches.append(one)
            advance(count + count * done // len(first))
    threshold = threshold_of(np.array([one.correlation for one in matches[count:]]))
    same = sorted((one for one in matches if one.correlation >= threshold), key=lambda one: -one.correlation)
    different = groups[:, None] != groups[None, :]
    return Copies(same, threshold, int(np.triu(different, 1).sum()))


def _match(query: int, key: int, start: Start, found: Alignment) -> Match:
    return Match(
        query, key, found.correlation, found.overlap, start.mirrored, start.upside_down, start.inverted, found.matrix
    )


def candidates(found: Found, groups: Groups) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the pairs of different groups that stand out most, four for each picture: (P,) and (P,), best first.

    A picture of one dark disc resembles all that have one.  So a score counts by how far it lies above the median of
    both pictures' scores, in units of their ninth decile above their median.
    """
    scores = np.maximum(found.scores, found.scores.T).astype(np.float32)
    median, high = np.quantile(scores, (0.5, 0.9), axis=1)
    spread = np.maximum(high - median, 1e-3)
    first, second = np.nonzero(np.triu(groups[:, None] != groups[None, :], 1))
    score = scores[first, second]
    standing = np.minimum((score - median[first]) / spread[first], (score - median[second]) / spread[second])
    best = np.argsort(-standing, kind="stable")[: _CANDIDATES * len(groups)]
    return first[best], second[best]


def threshold_of(null: NDArray[np.float64]) -> float:
    """Return the correlation that unrelated pictures do not reach, from those that some (P,) unrelated pairs have.

    Six standard deviations above the median of Fisher's transform, which makes correlations nearly normal; six, not
    four, because the upper tail is longer than the normal one. The deviation is that of the lower half, where no
    repeated scan hides.
    """
    values = np.arctanh(np.clip(null[null > -1], -0.999, 0.999))
    if len(values) < 20:  # quartiles of fewer mean little
        return _LOWEST
    low, median = np.quantile(values, (0.25, 0.5))
    return max(_LOWEST, float(np.tanh(median + _BEYOND * (median - low) / 0.6745)))
