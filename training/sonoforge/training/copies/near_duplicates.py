"""Find pictures of the same scan, within a set or between two, and group a set by scan.

Candidates come from shared local features (`shared_features`) and from equal framing (`find_same_framing`).  Each is
aligned by the features of both (`local_features.align`) and confirmed by the correlation of the overlap's fine detail
(`confirmation`), at a score derived from the set itself (`null_limit`).
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import fft
from threadpoolctl import threadpool_limits

from sonoforge.runtime.cli.progress import progress_bar
from sonoforge.training.copies import confirmation, local_features, shared_features
from sonoforge.training.copies.cells import Cells, rank, sort_into_cells, visits
from sonoforge.training.copies.local_features import LOOKS
from sonoforge.training.copies.matches import Found, Match, Matches, find_once, join_groups
from sonoforge.training.copies.nearest_training import fine_detail
from sonoforge.training.copies.pictures import Look, Picture, fit, on_disk
from sonoforge.training.progress import as_done, in_threads
from sonoforge.training.statistics.results import Record

_SIDE = 64
_LARGEST_SHIFT = 6
_SHIFTS = np.arange(-_LARGEST_SHIFT, _LARGEST_SHIFT + 1)
_PADDED = fft.next_fast_len(_SIDE + _LARGEST_SHIFT, real=True)
_HASH_SIDE = 16
_HASH_SHIFTS = (-4, -2, 0, 2, 4)
_HASH_AGREEMENT = 0.25  # of the 255 signs, (agreeing - differing) / all; BUSI's repeated frames have 0.32 and more
_CORRELATION = 0.5  # unrelated breast scans stay below 0.45
_BITS = _HASH_SIDE**2 - 1
_BASIS = fft.dct(np.eye(_SIDE), axis=0, norm="ortho")[:_HASH_SIDE]
_MOST = 16  # candidates for each picture by their hash
_HASHES_A_CELL = 256
_CELLS_OF_A_HASH = 4
_BLOCK = 256

Detail = NDArray[np.float64]
_AGREEING = np.dtype([("first", np.int64), ("second", np.int64), ("agreement", np.float32)])


def find_same_framing(indexed: Sequence[Picture], asked: Sequence[Picture] | None = None) -> NDArray[np.int64]:
    """Find candidates that are alike as a whole, at most shifted a little or mirrored, as in a clip.

    Pictures are resized to (64, 64) and their slow variation is removed.  The signs of the 16x16 lowest DCT frequencies
    (255 bits; Zauner, "Implementation and benchmarking of perceptual image hash functions", 2010, section 3.2.1,
    compared with zero) are computed at 25 shifts and mirrored, and looked up in an inverted file. The largest
    normalised cross-correlation over all shifts up to 6 pixels then decides (Lewis, "Fast normalized
    cross-correlation", 1995).

    Returns:
        (3, P): index of one, index of the other (larger within a set), place in `LOOKS`.
    """
    first = _squeeze(indexed)
    second = first if asked is None else _squeeze(asked)
    if not len(first):
        return np.empty((3, 0), np.int64)
    blocks = (first[start : start + _BLOCK] for start in range(0, len(first), _BLOCK))
    hashes = np.concatenate([_signs(fine_detail(block.astype(np.float64)), _BASIS, _BASIS) for block in blocks])
    index = sort_into_cells(hashes, _HASHES_A_CELL, np.arange(len(hashes)))
    parts = []
    for mirrored in (False, True):
        target = second[:, :, ::-1] if mirrored else second
        one, other = _hash_candidates(index, target, same=asked is None)
        near = _correlations(first, target, one, other) >= _CORRELATION
        look = LOOKS.index(Look(mirrored=mirrored, inverted=False))
        parts.append(np.stack((one[near], other[near], np.full(int(near.sum()), look))))
    return np.concatenate(parts, axis=1)


def _correlations(
    first: NDArray[np.uint8], second: NDArray[np.uint8], one: NDArray[np.int64], other: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the (P,) `_best_correlation` of pairs of resized pictures at the given places."""

    def correlate(start: int) -> NDArray[np.float64]:
        some = slice(start, start + _BLOCK)
        return _best_correlation(_Shifted.of(first, one[some], 1), _Shifted.of(second, other[some], -1))

    return np.concatenate([np.empty(0), *in_threads(correlate, range(0, len(one), _BLOCK))])


def _squeeze(pictures: Sequence[Picture]) -> NDArray[np.uint8]:
    small = [cv2.resize(picture, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA) for picture in pictures]
    return np.array(small, np.uint8).reshape(-1, _SIDE, _SIDE)


def _hash_candidates(
    index: Cells, second: NDArray[np.uint8], *, same: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the best pairs of each picture whose hashes agree at one of the shifts; blank ones have no hash."""
    moved = [_BASIS @ np.eye(_SIDE, k=-shift) for shift in _HASH_SHIFTS]  # the transform of the shifted picture

    def look_up(start: int) -> NDArray[np.void]:
        part = fine_detail(second[start : start + _BLOCK].astype(np.float64))
        shifted = np.concatenate([_signs(part, rows, columns) for rows in moved for columns in moved])
        found = [np.empty(0, _AGREEING)]
        for cell, own in visits(index, shifted, _CELLS_OF_A_HASH):
            members = slice(index.start[cell], index.start[cell + 1])
            agreement = shifted[own] @ index.vectors[members].T
            a, b = np.nonzero(agreement >= _HASH_AGREEMENT * _BITS)
            pairs = np.empty(len(a), _AGREEING)
            pairs["second"], pairs["first"] = start + own[a] % len(part), index.place[members][b]
            pairs["agreement"] = agreement[a, b]
            found.append(pairs[(pairs["first"] != pairs["second"]) | (not same)])
        return np.concatenate(found)

    found = in_threads(look_up, range(0, len(second), _BLOCK))
    pairs = np.concatenate([np.empty(0, _AGREEING), *found])
    pairs = pairs[np.argsort(-pairs["agreement"], kind="stable")]
    each = np.stack((pairs["first"], pairs["second"]))
    each = each[:, np.sort(np.unique(each, axis=1, return_index=True)[1])]  # the best of all shifts
    each = each[:, rank(each[0]) < _MOST]
    # Either picture may be the shifted one; each pair once.
    first_of, second_of = np.unique(np.sort(each, axis=0) if same else each, axis=1)
    return first_of, second_of


def _signs(detail: Detail, rows: NDArray[np.float64], columns: NDArray[np.float64]) -> NDArray[np.float32]:
    coefficients = (rows @ detail @ columns.T).reshape(len(detail), _HASH_SIDE**2)
    return np.sign(coefficients[:, 1:]).astype(np.float32)


class _Shifted(NamedTuple):
    """Precomputed sums for the correlations of P pairs at K x K shifts, once for each of the U different pictures."""

    picture: NDArray[np.int64]  # (P,) its place in the other fields
    spectrum: NDArray[np.complex128]
    sums: NDArray[np.float64]  # (U, K, K) over the overlap
    energy: NDArray[np.float64]  # (U, K, K) the same for squares

    @classmethod
    def of(cls, squeezed: NDArray[np.uint8], places: NDArray[np.int64], sign: int) -> _Shifted:
        """Measure the pictures at the places (P,); ``sign`` is -1 for the side that is not shifted."""
        once, picture = np.unique(places, return_inverse=True)
        detail = fine_detail(squeezed[once].astype(np.float64))
        shifts = sign * _SHIFTS
        spectrum = fft.rfft2(detail, (_PADDED, _PADDED))
        return cls(picture, spectrum, _overlap_sums(detail, shifts), _overlap_sums(detail**2, shifts))


def _best_correlation(first: _Shifted, second: _Shifted) -> NDArray[np.float64]:
    """Return the (P,) largest normalised cross-correlations over all shifts up to `_LARGEST_SHIFT`."""
    spectrum = first.spectrum[first.picture] * second.spectrum[second.picture].conj()
    # products[p, i, j] = sum over x of first[x + shift] * second[x]
    products = fft.irfft2(spectrum, (_PADDED, _PADDED))[:, _SHIFTS % _PADDED][:, :, _SHIFTS % _PADDED]
    overlap = _SIDE - np.abs(_SHIFTS)
    area = overlap[:, None] * overlap[None, :]
    variance_a = (first.energy - first.sums**2 / area)[first.picture]
    variance_b = (second.energy - second.sums**2 / area)[second.picture]
    # An overlap that leaves out nearly all of an image's detail (unit energy) proves nothing.
    sound = (variance_a > 0.1) & (variance_b > 0.1)
    scale = np.sqrt(np.where(sound, variance_a * variance_b, 1.0))
    means = first.sums[first.picture] * second.sums[second.picture] / area
    correlation = np.where(sound, (products - means) / scale, 0.0)
    return np.asarray(correlation.reshape(len(products), -1).max(axis=1))


def _overlap_sums(images: Detail, shifts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return (P, K, K) sums over the part of each image that overlaps another one shifted by (shift, shift)."""
    integral = np.zeros((len(images), _SIDE + 1, _SIDE + 1))
    integral[:, 1:, 1:] = images.cumsum(axis=1).cumsum(axis=2)
    start, stop = np.maximum(shifts, 0), _SIDE + np.minimum(shifts, 0)
    rows = integral[:, stop] - integral[:, start]
    return rows[:, :, stop] - rows[:, :, start]


log = logging.getLogger(__name__)

LOWEST_LIMIT = 8.0
"""Scores below it count as unrelated in every set; measured on BUSI, where unrelated pairs stay below 6."""

HIGHEST_LIMIT = 25.0
"""No set needs a higher limit; the highest score seen for unrelated pictures is 13, for two retinas."""

KEPT_LIMIT = 8.6
"""No limit is higher in sets whose unrelated pairs score as in BUSI, BUS-BRA, BrEaST and BUS-UC, of which it is the
highest of their own limits (``training/studies/near-duplicates/planted.py --count 0``)."""

_SEARCH = "near-duplicates5"  # with a new number, earlier results are not read
_FEWEST_AGREEING = 4  # matches; unrelated pictures often have three
_FEWEST_KNOWN = 20  # scores needed to estimate their distribution
_OF_TWO_KINDS = 0.8  # share of the variance that lies between two kinds of scores
_DRAWN, _FEWEST_DRAWN_FROM = 200, 100  # pairs, pictures: of fewer, simulated ones too are taken for breast scans
# Usual score of sets for which the kept limit holds: 2.0 to 2.3 in the four collections and in sets augmented from
# them. Herlev's cells have 3.5, LiTS's livers 3.8, mammograms 5.2 and 5.8, retinas 7.6.
_KEPT_USUAL = 2.8
_FALSE_PAIRS = 1e-3  # expected number of unrelated pairs over the limit, for each picture

Extract = Callable[[Picture], local_features.LocalFeatures]


class Prepared(NamedTuple):
    """Pictures with their features, so that a set is prepared once and compared with several."""

    pictures: Sequence[Picture]  # fitted, grey (H, W) uint8
    features: Sequence[local_features.LocalFeatures]

    def take(self, indices: NDArray[np.int64]) -> Prepared:
        """Return the pictures at these indices."""
        places = indices.tolist()
        return Prepared([self.pictures[at] for at in places], [self.features[at] for at in places])


def prepare(
    pictures: Sequence[Picture], title: str = "", extract: Extract = local_features.extract_features
) -> Prepared:
    """Fit grey (H, W) uint8 pictures of any size and extract their features; ``title``: see `in_threads`."""
    fitted = on_disk(map(fit, pictures))
    return Prepared(fitted, local_features.keep_on_disk(as_done(extract, fitted, title)))


def match_pictures(first: Prepared, second: Prepared | None = None, title: str = "", shapes: int = 1) -> Matches:
    """Compare the candidates among N pictures, or between N and M pictures of another set; ``title``: see `in_threads`.

    Each pair comes once, with its best look, sorted by its indices.  Leave out pairs without an alignment and, within a
    set, pairs that certain pairs already join. The first may be one set of pictures in several ``shapes``, one shape
    after the other: their framing is the same in all.
    """
    other = first if second is None else second
    # The products are too small to be shared out: beside other work, that took four times as long.
    with threadpool_limits(1, "blas"):
        found = shared_features.find_candidates(first.features, None if second is None else second.features)
        framed = find_same_framing(
            first.pictures[: len(first.pictures) // shapes], None if second is None else second.pictures
        )
        asked = np.unique(np.concatenate((found, framed), axis=1), axis=1).T
        compare = functools.partial(_compare, first, other)
        if second is None:
            rows = _compare_what_is_apart(compare, asked, len(first.pictures), title)
        else:
            rows = [row for row in in_threads(compare, asked.tolist(), title) if row is not None]
    best: dict[tuple[int, int], Match] = {}
    for row in rows:
        key = row.first, row.second
        if key not in best or row.score > best[key].score:
            best[key] = row
    return Matches.of([best[key] for key in sorted(best)])


def _compare_what_is_apart(
    compare: Callable[[list[int]], Match | None], asked: NDArray[np.int64], count: int, title: str
) -> list[Match]:
    """Compare (K, 3) candidates of one set in rounds, one of each first picture at a time."""
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
    first: Sequence[local_features.LocalFeatures],
    second: Sequence[local_features.LocalFeatures],
    fewest: int,
    candidate: tuple[int, int, int],
) -> Match | None:
    """Align two pictures by the features of both; None if fewer matches than ``fewest`` agree.

    A candidate is the index of each picture, and the place in `LOOKS` of how the second is transformed.
    """
    a, b, look = candidate[0], candidate[1], local_features.LOOKS[candidate[2]]
    alignment = local_features.align(first[a], second[b].seen(look))
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
    return match._replace(**confirmation.compare_aligned(first.pictures[match.first], picture, match.matrix)._asdict())


def null_limit(matches: Matches, pictures: int) -> float:
    """Return the score above which the set's own null distribution predicts no unrelated pairs.

    ``matches`` are all compared candidates of that many pictures.  Nearly all are unrelated: certain pairs are left
    out, and so are the higher ones if the others are still of two kinds, as in an augmented set. The upper quarter is
    treated as exponential, which overestimates a normal distribution's tail, and extrapolated to one false pair in 1000
    pictures (peaks over threshold: Coles, "An Introduction to Statistical Modeling of Extreme Values", 2001, section
    4.3, with shape 0).  It uses quantiles, not means, so that true pairs hardly move it.
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


def usual_score(prepared: Prepared) -> float:
    """Return the score that one in ten of pairs drawn at random reach, laid on each other by any two features.

    Unlike those of candidates, nearly all of these pairs are unrelated, however many copies of each scan a set holds.
    """
    pictures, features = prepared
    if len(pictures) < _FEWEST_DRAWN_FROM:
        return HIGHEST_LIMIT
    rng = np.random.default_rng(2)
    one, apart = rng.integers(0, len(pictures), _DRAWN), rng.integers(1, len(pictures), _DRAWN)
    asked = np.stack((one, (one + apart) % len(pictures), np.zeros_like(one)), axis=1).tolist()
    found = filter(None, in_threads(functools.partial(align_candidate, features, features, 2), asked))
    scores = [confirmation.compare_aligned(pictures[a], pictures[b], matrix).score for a, b, *_, matrix in found]
    return float(np.quantile([*scores, HIGHEST_LIMIT], 0.9))


def _two_kinds(scores: NDArray[np.float64]) -> float | None:
    """Return the score that separates unrelated pairs from pairs of one scan; None if all scores are of one kind.

    It minimises the variance within both sides (Otsu, "A threshold selection method from gray-level histograms", 1979);
    it removes at most 0.75 of a single distribution's variance.
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


# ---- the groups of one set


@dataclass(frozen=True, eq=False)
class NearDuplicates:
    """Groups of images that show the same scan."""

    threshold: float  # the score used, from the set's own null distribution
    groups: NDArray[np.int64]  # (N,) int64 group of each image, 0..G-1 in order of first appearance
    pairs: Matches  # the pairs at or above the threshold, first < second, sorted
    measured: Matches  # all pairs that were compared

    @property
    def clusters(self) -> list[NDArray[np.int64]]:
        """Indices of the images of every group of at least two, largest group first."""
        order = np.argsort(self.groups, kind="stable")
        parts = np.split(order, np.cumsum(np.bincount(self.groups))[:-1])
        return sorted((part for part in parts if len(part) > 1), key=lambda part: (-len(part), part[0]))


def find_near_duplicates(
    pictures: Sequence[Picture], hashes: Sequence[str] = (), store: Path | None = None
) -> NearDuplicates:
    """Group N grey (H, W) uint8 pictures of one set by the scan that they show.

    Equal content hashes, if given, form one group even if there is no detail to compare (blank images).  ``store``: see
    `matches.find_once`.
    """

    def search() -> Found:
        features, pairs = ("reading features", "comparing look-alikes") if len(pictures) > 100 else ("", "")
        prepared = prepare(pictures, features)
        return Found(match_pictures(prepared, title=pairs), usual_score(prepared))

    found, usual = find_once(store, _SEARCH, hashes, search)
    # Each image is paired with the first one of the same content, at the highest limit.
    seen: dict[str, int] = {}
    equal = [(seen[own], i) for i, own in enumerate(hashes) if seen.setdefault(own, i) != i]
    look, alignment = LOOKS[0], local_features.Alignment(np.eye(2, 3), local_features.MOST_MATCHES)
    alike = confirmation.Comparison(correlation=1.0, score=HIGHEST_LIMIT, overlap=1.0)
    equals = Matches.of([Match.of(first, second, look, alignment, alike) for first, second in equal])
    # Each pair once, with the higher correlation, sorted by its indices.
    both = Matches._make(np.concatenate(fields) for fields in zip(found, equals, strict=True))
    ordered = both.take(np.lexsort((-both.correlation, both.second, both.first)))
    measured = ordered.take(np.unique((ordered.first, ordered.second), axis=1, return_index=True)[1])
    threshold = null_limit(measured, len(pictures))
    if usual <= _KEPT_USUAL:
        threshold = min(threshold, KEPT_LIMIT)
    if threshold > 2 * LOWEST_LIMIT:
        log.warning(
            "near-duplicates: different pictures of this set are so alike that only scores of %.1f or more count as "
            "one scan, not %g as elsewhere: heavily changed copies are not found; see sonoforge data audit",
            threshold,
            LOWEST_LIMIT,
        )
    pairs = measured.confirmed(threshold)
    return NearDuplicates(threshold, join_groups(len(pictures), pairs.first, pairs.second), pairs, measured)


def count_repeated(found: NearDuplicates, labels: NDArray[np.int64]) -> Record:
    """Count the near-duplicates; a cluster is a group of at least two images; ``labels`` (N,) are class indices."""
    sizes = np.bincount(found.groups)
    with_label = np.unique(np.stack((found.groups, labels)), axis=1)[0]
    return {
        "threshold": round(found.threshold, 1),
        "groups": len(sizes),  # single images included
        "clusters": int((sizes > 1).sum()),
        "images_in_clusters": int(sizes[sizes > 1].sum()),
        "largest_cluster": int(sizes.max()),
        "mixed_label_clusters": int((np.bincount(with_label) > 1).sum()),
    }


def join_scans(
    found: NearDuplicates,
    given: Sequence[str | None],
    contents: Sequence[str],
    together: Sequence[tuple[int, int]] = (),
) -> NDArray[np.int64]:
    """Join near-duplicates, given groups (or None), equal contents and pairs: (N,) int64 group of each of N images."""
    links = [*zip(found.pairs.first.tolist(), found.pairs.second.tolist(), strict=True), *together]
    for keys in (given, contents):
        seen: dict[str, int] = {}
        links += [(seen.setdefault(key, i), i) for i, key in enumerate(keys) if key is not None]
    return join_groups(len(given), *np.array(links, dtype=np.int64).reshape(-1, 2).T)
