"""A second search for repeated scans, which checks the first: it shares types, cache and `cells` with it, no feature.

The pairs that stand out most in `pose_search` are aligned by an affine map, and their overlap is correlated.  Nearly
all are unrelated: they are the set's own null distribution, and a pair counts only far outside it.  In a match,
``first`` is the picture in which the middle of ``second`` was found; its matrix is in pixels of `pose_search.shrink`.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from sonoforge.training.copies import pictures as whole
from sonoforge.training.copies.confirmation import Comparison
from sonoforge.training.copies.local_features import Alignment
from sonoforge.training.copies.matches import Found as Kept
from sonoforge.training.copies.matches import Match, Matches, find_once
from sonoforge.training.copies.pose_search import (
    Matrix,
    Picture,
    backwards,
    cell_of,
    detail,
    flip,
    search,
    shrink,
    start_of,
    warp,
)
from sonoforge.training.progress import as_done, in_threads

log = logging.getLogger(__name__)

Look = whole.Look
Groups = NDArray[np.int64]

_SEARCH = "second-search2"  # with a new number, earlier results are not read
_CANDIDATES = 4  # pairs to align, for each picture of the set
_BEYOND = 6.0  # standard deviations of the null distribution of the correlations' Fisher transform
# Slightly more than BUSI's null distribution gives; the floor for sets too small to have one, or as diverse as
# simulated ones.
_LOWEST = 0.45

LEAST_OVERLAP = 0.2
"""Share of the area of either picture; less can agree by chance."""

# Sides of the detail in cells of the search.  The coarser aligns, in pictures of half the size.  The finer decides: in
# it, an outline that all pictures share is a small part and tissue a large one.  Mammograms of different women agree at
# 0.62 (95th percentile) in the coarser, at 0.4 in the finer.
_COARSER, _FINER = 0.5, 0.3
_STEPS, _PRECISION = (45, 18), 1e-3  # iterations in the coarser and the finer, and where they stop
_MOST_STRETCH = 1.35  # of one axis relative to the other; scans of one view differ by less, a collapsing map by more
_SCALES = (0.5, 2.0)
_DOUBLE = np.array([[2, 0, 0.5], [0, 2, 0.5], [0, 0, 1]])  # takes the point (x, y, 1) of a halved picture to the whole


class SecondSearch(NamedTuple):
    """The repeated scans of a set."""

    matches: list[Match]  # the most alike first
    threshold: float  # correlation from which two pictures count as one scan
    compared: int  # number of pairs compared


def search_again(
    pictures: Sequence[whole.Picture], hashes: Sequence[str], store: Path | None, groups: Groups
) -> SecondSearch:
    """Return what `find_repeated` finds in a set, from an earlier search where one is stored.

    A stored search is valid for groups at least as coarse as its own: it compared every pair that is still apart.
    Pairs within one of the groups (N,) are not compared; ``hashes`` are content hashes of the N grey (H, W) uint8
    pictures.  For ``store`` see `matches.find_once`.
    """

    def find() -> Kept:
        log.info("second opinion: comparing every image with those of other groups")
        # Both steps run in threads of their own; sharing out their small products again takes four times as long.
        with threadpool_limits(1, "blas"):
            found = find_repeated(whole.on_disk(as_done(shrink, pictures)), groups, "second opinion")
        return Kept(Matches.of(found.matches), [groups.tolist(), found.threshold, found.compared])

    def still_answers(found: Kept) -> bool:
        before = np.array(found.facts[0])
        # Each earlier group lies inside one of the present groups.
        return len(np.unique(np.stack((before, groups)), axis=1)[0]) == len(np.unique(before))

    kept = find_once(store, _SEARCH, hashes, find, still_answers)
    _, threshold, compared = kept.facts
    apart = [match for match in kept.matches.rows if groups[match.first] != groups[match.second]]
    return SecondSearch(apart, threshold, compared)


def find_repeated(pictures: Sequence[Picture], groups: Groups, title: str = "") -> SecondSearch:
    """Find the pairs of N shrunk pictures of different groups that show one scan; ``title``: see `in_threads`."""
    found = search(pictures, groups, _CANDIDATES * len(pictures), title)

    def match(pair: tuple[int, int, int]) -> Match:
        key, query, code = pair
        look, start = start_of(code, pictures[query], pictures[key])
        compared, matrix = align(pictures[query], pictures[key], look, start)
        return Match.of(key, query, look, Alignment(backwards(matrix), 0), compared)

    matches = in_threads(match, np.stack(found, axis=1).tolist(), title)
    threshold = threshold_of(np.array([one.correlation for one in matches[len(pictures) :]]))
    same = sorted((one for one in matches if one.correlation >= threshold), key=lambda one: -one.correlation)
    sizes = np.unique(groups, return_counts=True)[1]
    compared = (len(groups) * (len(groups) - 1) - int((sizes * (sizes - 1)).sum())) // 2
    return SecondSearch(same, threshold, compared)


def threshold_of(null: NDArray[np.float64]) -> float:
    """Return the correlation that unrelated pictures do not reach, given the correlations of (P,) unrelated pairs.

    Six standard deviations above the median of Fisher's transform, which makes correlations nearly normal; six, not
    four, because the upper tail is longer than the normal one.  The deviation is taken from the lower half, which
    holds no repeated scans.
    """
    values = np.arctanh(np.clip(null[null > -1], -0.999, 0.999))
    if len(values) < 20:  # quartiles of fewer mean little
        return _LOWEST
    low, median = np.quantile(values, (0.25, 0.5))
    return max(_LOWEST, float(np.tanh(median + _BEYOND * (median - low) / 0.6745)))


def align(query: Picture, key: Picture, look: Look, start: Matrix) -> tuple[Comparison, Matrix]:
    """Refine a map by enhanced correlation (Evangelidis and Psarakis, PAMI 30, 2008) and return the better of both.

    The correlation is zero-mean and normalised, over the pixels of the query that the key covers; -1 where no valid map
    is found.  The overlap is the smaller share of the two areas that both show.
    """
    shown = flip(query, mirrored=look.mirrored, upside_down=look.upside_down)
    sign = -1 if look.inverted else 1
    coarse = [detail(small, _COARSER * cell_of(small)) for small in (_halve(shown), _halve(key))]
    small = _refine(coarse[0], sign * coarse[1], _between(start, _DOUBLE), _STEPS[0], 1)
    fixed, moving = detail(shown, _FINER * cell_of(shown)), sign * detail(key, _FINER * cell_of(key))
    matrix = _refine(fixed, moving, _between(small, np.linalg.inv(_DOUBLE)), _STEPS[1], 3)
    judged = [(_judge(fixed, moving, tried), tried) for tried in (start, matrix)]
    return max(judged, key=lambda one: one[0].correlation)


def _halve(picture: Picture) -> Picture:
    """Take the mean of every four pixels; an odd last row or column is dropped."""
    rows, columns = (side // 2 for side in picture.shape)
    return warp(picture, _DOUBLE[:2], (rows, columns))


def _between(matrix: Matrix, size: NDArray[np.float64]) -> Matrix:
    """Return a map between two pictures as a map between resized copies; ``size`` takes the copies to the pictures."""
    inner: Matrix = np.linalg.inv(size) @ np.vstack((matrix, [0, 0, 1])) @ size
    return inner[:2]


def _refine(fixed: Picture, moving: Picture, matrix: Matrix, steps: int, blur: int) -> Matrix:
    criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, steps, _PRECISION)
    begin = matrix.astype(np.float32)
    try:
        _, refined = cv2.findTransformECC(fixed, moving, begin, cv2.MOTION_AFFINE, criteria, None, blur)  # type: ignore[call-overload]
    except cv2.error:  # no convergence, as for most unrelated pictures
        return matrix
    return np.asarray(refined, np.float64)


def _judge(fixed: Picture, moving: Picture, matrix: Matrix) -> Comparison:
    nothing = Comparison(-1.0, float("nan"), 0.0)
    area = float(np.linalg.det(matrix[:, :2]))  # pixels of the key for one of the query
    largest, smallest = np.linalg.svd(matrix[:, :2], compute_uv=False).tolist()
    if area <= 0 or smallest < _SCALES[0] or largest > _SCALES[1] or largest > _MOST_STRETCH * smallest:
        return nothing
    seen = warp(np.ones_like(moving), matrix, fixed.shape) > 0.999
    overlap = seen.sum() * min(1 / fixed.size, area / moving.size)
    if overlap < LEAST_OVERLAP:
        return nothing
    one, other = fixed[seen], warp(moving, matrix, fixed.shape)[seen]
    one, other = one - one.mean(), other - other.mean()
    energy = float(np.sqrt((one @ one) * (other @ other)))
    return Comparison(float(one @ other) / energy, float("nan"), float(overlap)) if energy > 0 else nothing
