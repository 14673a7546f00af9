"""Find the pictures that show one scan, within a set or between two: candidates, alignment, confirmation.

Candidates come from shared local features (`shared_features`) and from equal framing (`same_framing`: the next frame of
a clip moves a little everywhere, which changes local features more than the whole).  Each is aligned by the features of
both (`alignment`) and confirmed by the correlation of the overlap's fine detail (`confirmation`).

What score confirms depends on how alike different pictures of the set are, so the set itself sets it (`null_limit`):
retinas and cells share more than breast scans do.
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from sonoforge.runtime.cli.progress import progress_bar
from sonoforge.training.copies.alignment import align
from sonoforge.training.copies.confirmation import compare_aligned
from sonoforge.training.copies.local_features import LOOKS, LocalFeatures, extract_features, keep_on_disk
from sonoforge.training.copies.matches import Match, Matches, join_groups
from sonoforge.training.copies.pictures import Picture, fit
from sonoforge.training.copies.same_framing import find_same_framing
from sonoforge.training.copies.scratch import on_disk
from sonoforge.training.copies.shared_features import find_candidates
from sonoforge.training.progress import as_done, in_threads

LOWEST_LIMIT = 8.0
"""Scores below count as unrelated in every set; measured in BUSI, where unrelated pairs stay below 6."""

HIGHEST_LIMIT = 25.0
"""No set asks for more; the highest seen of unrelated pictures is 13, of two retinas."""

_FEWEST_AGREEING = 4  # matches; unrelated pictures often have three
_FEWEST_KNOWN = 20  # scores that say something of their distribution
_OF_TWO_KINDS = 0.8  # share of the variance that lies between two kinds of scores
_FALSE_PAIRS = 1e-3  # expected number of unrelated pairs over the limit, for each picture


Extract = Callable[[Picture], LocalFeatures]


class Prepared(NamedTuple):
    """Pictures with their features, so that a set is prepared once and compared with several."""

    pictures: Sequence[Picture]  # fitted, grey (H, W) uint8
    features: Sequence[LocalFeatures]


def prepare(pictures: Sequence[Picture], title: str = "", extract: Extract = extract_features) -> Prepared:
    """Fit grey (H, W) uint8 pictures of any size and extract their features; ``title``: see `in_threads`."""
    fitted = on_disk(map(fit, pictures))
    return Prepared(fitted, keep_on_disk(as_done(extract, fitted, title)))


def match_pictures(first: Prepared, second: Prepared | None = None, title: str = "", shapes: int = 1) -> Matches:
    """Compare the candidates among N pictures, or between N and M pictures of another set; ``title``: see `in_threads`.

    Each pair comes once, with its best look, sorted by its indices; pairs without an alignment are left out, and within
    a set those whose pictures certain pairs join already: they change no group at any limit.  The first are some
    pictures in as many ``shapes``, one shape after the other: their framing is the same in all.
    """
    other = first if second is None else second
    # The products are too small to be shared out: beside other work, that took four times as long.
    with threadpool_limits(1, "blas"):
        found = find_candidates(first.features, None if second is None else second.features)
        framed = find_same_framing(
            first.pictures[: len(first.pictures) // shapes], None if second is None else second.pictures
        )
        asked = np.unique(np.concatenate((found, framed), axis=1), axis=1).T
        compare = functools.partial(_compare, first, other)
        if second is None:
            rows = _compare_what_is_apart(compare, asked, len(first.pictures), title)
        else:
            rows = [row for row in in_threads(compare, asked.tolist(), title) if row is not None]
    return _best_of_each_pair(rows)


def _compare_what_is_apart(
    compare: Callable[[list[int]], Match | None], asked: NDArray[np.int64], count: int, title: str
) -> list[Match]:
    """Compare (K, 3) candidates of one set in rounds, one of each first picture at a time.

    Between rounds, those whose pictures certain pairs have joined are left out: of the 561 pairs of 34 versions of one
    scan, 33 or a few more are compared.
    """
    turns = np.arange(len(asked)) - np.searchsorted(asked[:, 0], asked[:, 0])  # they are sorted by their first picture
    groups = np.arange(count)
    rows: list[Match] = []
    done = 0
    with progress_bar(title, len(asked), show=bool(title)) as advance:
        for turn in range(int(turns.max(initial=-1)) + 1):
            own = asked[turns == turn]
            apart = own[groups[own[:, 0]] != groups[own[:, 1]]]
            done += len(own) - len(apart)
            own_rows = []
            for row in as_done(compare, apart.tolist()):
                done += 1
                advance(done, None)
                if row is not None:
                    own_rows.append(row)
            rows += own_rows
            found = Matches.of(own_rows)
            certain = found.take(found.certain)
            groups = join_groups(count, groups[certain.first], groups[certain.second])[groups]
    return rows


def align_candidate(
    first: Sequence[LocalFeatures], second: Sequence[LocalFeatures], fewest: int, candidate: tuple[int, int, int]
) -> Match | None:
    """Align two pictures by the features of both; None where fewer matches than ``fewest`` agree.

    A candidate is the index of the one, that of the other, and the place in `LOOKS` of how the other has to be seen.
    """
    a, b, look = candidate[0], candidate[1], LOOKS[candidate[2]]
    alignment = align(first[a], second[b].seen(look))
    return None if alignment is None or alignment.agreeing < fewest else Match.of(a, b, look, alignment)


def _compare(first: Prepared, second: Prepared, candidate: tuple[int, int, int]) -> Match | None:
    match = align_candidate(first.features, second.features, _FEWEST_AGREEING, candidate)
    if match is None:
        return None
    picture = second.pictures[match.second]
    if match.inverted:
        picture = 255 - picture
    if match.mirrored:
        picture = np.ascontiguousarray(picture[:, ::-1])
    return match._replace(**compare_aligned(first.pictures[match.first], picture, match.matrix)._asdict())


def _best_of_each_pair(rows: Sequence[Match]) -> Matches:
    best: dict[tuple[int, int], Match] = {}
    for row in rows:
        key = row.first, row.second
        if key not in best or row.score > best[key].score:
            best[key] = row
    return Matches.of([best[key] for key in sorted(best)])


def null_limit(matches: Matches, pictures: int) -> float:
    """Return the score above which, by the set's own null distribution, unrelated pairs are not expected.

    ``matches`` are all candidates of that many pictures, compared. Their scores are those of unrelated pairs, but for
    those that show one scan: the certain ones are left out, and where the others are so many that the scores are of
    two kinds, as in a set that was augmented before, so are the higher ones. The upper quarter is taken as
    exponential, which overestimates the tail of a normal one, and extrapolated to one false pair in 1000 pictures
    (peaks over threshold: Coles, "An Introduction to Statistical Modeling of Extreme Values", 2001, section 4.3, with
    shape 0). Quantiles, not means, so that true pairs hardly move it.
    """
    known = matches.score[(matches.score > 0) & (matches.score < HIGHEST_LIMIT) & ~matches.certain]
    while len(known) >= _FEWEST_KNOWN and (split := _two_kinds(known)) is not None:
        known = known[known < split]
    if len(known) < _FEWEST_KNOWN:
        return LOWEST_LIMIT
    start = float(np.quantile(known, 0.75))
    scale = float(np.median(known[known > start] - start)) / np.log(2)
    exceeding = 0.25 * len(known)
    limit = start + scale * np.log(max(exceeding / (_FALSE_PAIRS * max(pictures, 1)), 1.0))
    return min(max(LOWEST_LIMIT, float(limit)), HIGHEST_LIMIT)


def _two_kinds(scores: NDArray[np.float64]) -> float | None:
    """Return the score that divides scores of unrelated pairs from those of one scan; None where all are of one kind.

    It is the one that leaves the least variance within both sides (Otsu, "A threshold selection method from gray-level
    histograms", 1979): of a normal distribution that takes away 0.64 of the variance, of an exponential one 0.65, of a
    uniform one 0.75.
    """
    ordered = np.sort(scores)
    below = np.arange(1, len(ordered))
    sums = np.cumsum(ordered)
    shares = below / len(ordered)
    apart = sums[:-1] / below - (sums[-1] - sums[:-1]) / (len(ordered) - below)
    between = shares * (1 - shares) * apart**2
    best = int(between.argmax())
    if between[best] <= _OF_TWO_KINDS * ordered.var():
        return None
    return float(ordered[best] + ordered[best + 1]) / 2
