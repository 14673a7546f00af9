"""Which pictures may show one scan: those whose local features are near each other, found without comparing all pairs.

An inverted file (Sivic and Zisserman, "Video Google", ICCV 2003; Jegou, Douze, Schmid, "Product quantization for
nearest neighbor search", TPAMI 33(1), 2011, section IV): descriptors are sorted into cells around centres, and a
descriptor is compared with those of its own cells only.  Each near pair of descriptors votes for its pair of pictures;
a descriptor that is near to many (a caption, the edge of a frame) shares its vote among them (the inverse document
frequency of both papers).
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sonoforge.training.copies.local_features import LOOKS, LocalFeatures, descriptor_order, stack

_COMPONENTS = 32  # principal components of the descriptors that are compared
_CELLS_OF_A_DESCRIPTOR = 2  # cells that a descriptor looks into; its own is the nearest
_DESCRIPTORS_A_CELL = 512
_SAMPLE = 40_000
_ROUNDS = 6  # of k-means; the cells need not be optimal
_NEAREST = 12  # matches of one descriptor that are kept, so that a common one does not fill the memory
_TURNS = 12
_FEWEST = 3  # near descriptors from which a pair of pictures is a candidate
_MOST = 8  # candidates kept of each picture, those with the most votes


class _Set(NamedTuple):
    """All features of a set of pictures."""

    features: LocalFeatures
    owner: NDArray[np.int64]  # (T,) picture of each


class _Index(NamedTuple):
    """The descriptors of a set, sorted by cell."""

    centres: NDArray[np.float32]  # (C, D)
    start: NDArray[np.int64]  # (C + 1,) where each cell begins
    vectors: NDArray[np.float32]  # (T, D)
    place: NDArray[np.int64]  # (T,) place of each in the set


def find_candidates(
    indexed: Sequence[LocalFeatures], asked: Sequence[LocalFeatures] | None = None, near_by_chance: float = 0.005
) -> NDArray[np.int64]:
    """Find the pairs of pictures that share local features, those with the most votes first.

    Args:
        indexed: Features of N pictures.
        asked: Features of M pictures of another set, each looked for in the first; None: pairs within ``indexed``.
        near_by_chance: Share of unrelated descriptors that find one so near that it votes; coarse ones need more.

    Returns:
        (3, P): index of one, index of the other (larger within a set), place in `LOOKS` of how the second has to be
        seen; each pair once with each look.
    """
    base = _stack(indexed)
    queries = base if asked is None else _stack(asked)
    vectors, looked_for = base.features.descriptors, queries.features.descriptors
    if not len(vectors) or not len(looked_for):
        return np.empty((3, 0), np.int64)
    sample = np.random.default_rng(0).permutation(len(vectors))[:_SAMPLE]
    space = _principal_axes(vectors[sample])
    index = _build_index(_project(vectors, space), sample)
    limit = _near_limit(index, looked_for, space, near_by_chance)
    found = []
    for look in range(len(LOOKS)):
        near = _near_descriptors(index, _project(looked_for[:, descriptor_order(LOOKS[look])], space), limit)
        found.append(_votes(base, queries, near, look, asked is None))
    return _count(np.concatenate(found), asked is None)


class _Space(NamedTuple):
    middle: NDArray[np.float32]  # (128,)
    axes: NDArray[np.float32]  # (128, D)


class _Near(NamedTuple):
    """Pairs of near descriptors."""

    query: NDArray[np.int64]  # (V,) place among the queries
    found: NDArray[np.int64]  # (V,) place among the indexed
    distance: NDArray[np.float32]  # (V,) squared


_VOTE = np.dtype(
    [("pair", np.int64), ("look", np.int8), ("weight", np.float32), ("octaves", np.float32), ("turn", np.float32)]
)


def _stack(pictures: Sequence[LocalFeatures]) -> _Set:
    return _Set(stack(pictures), np.repeat(np.arange(len(pictures)), [len(one.sizes) for one in pictures]))


def _principal_axes(sample: NDArray[np.uint8]) -> _Space:
    points = sample.astype(np.float32)
    middle = points.mean(axis=0)
    _, vectors = np.linalg.eigh(np.cov((points - middle).T))
    return _Space(middle, np.ascontiguousarray(vectors[:, : -_COMPONENTS - 1 : -1], np.float32))


def _project(vectors: NDArray[np.uint8], space: _Space) -> NDArray[np.float32]:
    parts = [
        (vectors[i : i + 65536].astype(np.float32) - space.middle) @ space.axes for i in range(0, len(vectors), 65536)
    ]
    return np.concatenate(parts)


def _build_index(vectors: NDArray[np.float32], sample: NDArray[np.int64]) -> _Index:
    """Sort the descriptors into the cells of a few rounds of k-means on a sample."""
    points = vectors[sample]
    centres = points[: max(1, len(vectors) // _DESCRIPTORS_A_CELL)].copy()
    for _ in range(_ROUNDS):
        cell = _nearest_cells(points, centres, 1)[:, 0]
        order = np.argsort(cell, kind="stable")
        filled, start = np.unique(cell[order], return_index=True)
        centres[filled] = np.add.reduceat(points[order], start) / np.diff(np.append(start, len(order)))[:, None]
    cell = _nearest_cells(vectors, centres, 1)[:, 0]
    order = np.argsort(cell, kind="stable")
    start = np.searchsorted(cell[order], np.arange(len(centres) + 1))
    return _Index(centres, start, vectors[order], order)


def _nearest_cells(points: NDArray[np.float32], centres: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """Return the ``count`` cells nearest to each point, nearest first: (T, count), or fewer columns."""
    norm = (centres * centres).sum(axis=1) / 2
    nearest = np.empty((len(points), min(count, len(centres))), np.int64)
    for start in range(0, len(points), 4096):
        closeness = points[start : start + 4096] @ centres.T
        closeness -= norm
        rows = np.arange(len(closeness))
        for place in range(nearest.shape[1]):
            found = closeness.argmax(axis=1)
            nearest[start : start + 4096, place] = found
            closeness[rows, found] = -np.inf
    return nearest


def _visits(index: _Index, points: NDArray[np.float32]) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Yield each cell with the points that look into it."""
    cells = _nearest_cells(points, index.centres, _CELLS_OF_A_DESCRIPTOR)
    order = np.argsort(cells, axis=None, kind="stable")
    start = np.searchsorted(cells.reshape(-1)[order], np.arange(len(index.centres) + 1))
    visitors = order // cells.shape[1]
    for cell in range(len(index.centres)):
        own = visitors[start[cell] : start[cell + 1]]
        if len(own) and index.start[cell] < index.start[cell + 1]:
            yield cell, own


def _distances(index: _Index, cell: int, points: NDArray[np.float32]) -> NDArray[np.float32]:
    """(Q, members) squared distances of points to the members of a cell, less each point's own squared length."""
    members = index.vectors[index.start[cell] : index.start[cell + 1]]
    distance: NDArray[np.float32] = points @ (-2 * members.T)
    distance += (members * members).sum(axis=1)
    return distance


def _near_limit(index: _Index, vectors: NDArray[np.uint8], space: _Space, quantile: float) -> float:
    """Return the squared distance below which two descriptors are unusually near.

    The null distribution is that of descriptors of negatives: real collections hold none, while they may hold any
    number of repeated scans.  The larger of both senses, in case one of them is there.
    """
    rng = np.random.default_rng(1)
    chosen = rng.permutation(len(vectors))[:5000]
    limits = []
    for look in LOOKS:
        if look.inverted:
            points = _project(vectors[chosen][:, descriptor_order(look)], space)
            nearest = np.full(len(points), np.inf)
            for cell, visitors in _visits(index, points):
                distance = _distances(index, cell, points[visitors])
                nearest[visitors] = np.minimum(nearest[visitors], distance.min(axis=1))
            limits.append(float(np.quantile(nearest + (points * points).sum(axis=1), quantile)))
    return max(limits)


def _near_descriptors(index: _Index, points: NDArray[np.float32], limit: float) -> _Near:
    """Find the indexed descriptors within a squared distance of each of (T, D) points."""
    query, found, distances = [np.empty(0, np.int64)], [np.empty(0, np.int64)], [np.empty(0, np.float32)]
    reach = limit - (points * points).sum(axis=1)
    for cell, visitors in _visits(index, points):
        for start in range(0, len(visitors), 2048):
            own = visitors[start : start + 2048]
            distance = _distances(index, cell, points[own])
            rows, columns = np.divmod(np.flatnonzero(distance <= reach[own, None]), distance.shape[1])
            values = distance[rows, columns]
            if len(rows) > _NEAREST * len(own):
                order = np.lexsort((values, rows))
                kept = order[_rank(rows[order]) < 4 * _NEAREST]
                rows, columns, values = rows[kept], columns[kept], values[kept]
            query.append(own[rows])
            found.append(index.place[index.start[cell] + columns])
            distances.append(values)
    return _Near(np.concatenate(query), np.concatenate(found), np.concatenate(distances))


def _votes(base: _Set, queries: _Set, near: _Near, look: int, same: bool) -> NDArray[np.void]:
    """Return a vote for each pair of near descriptors of different pictures."""
    asked, found = queries.owner[near.query], base.owner[near.found]
    kept = np.flatnonzero((asked != found) | (not same))
    kept = kept[np.lexsort((near.distance[kept], near.query[kept]))]
    kept = kept[_rank(near.query[kept]) < _NEAREST]
    query, place, asked, found = near.query[kept], near.found[kept], asked[kept], found[kept]
    votes = np.empty(len(kept), _VOTE)
    angle = queries.features.angles[query] + (np.float32(np.pi) if LOOKS[look].inverted else 0)
    angle = np.float32(np.pi) - angle if LOOKS[look].mirrored else angle
    octaves = np.log2(queries.features.sizes[query] / base.features.sizes[place])
    turn = angle - base.features.angles[place]
    if same:
        # The pair is noted from its first picture to its second; both descriptors of a pair look for each other.
        swapped = asked < found
        octaves = np.where(swapped, -octaves, octaves)
        turn = np.where(swapped & ~np.bool_(LOOKS[look].mirrored), -turn, turn)
        low, high = np.minimum(asked, found), np.maximum(asked, found)
    else:
        low, high = found, asked
    votes["pair"] = low << 32 | high
    votes["look"], votes["weight"] = look, 1 / np.bincount(query)[query]
    votes["octaves"], votes["turn"] = octaves, turn
    return votes


def _count(votes: NDArray[np.void], same: bool) -> NDArray[np.int64]:
    """Add up the votes that agree on a scale and a turn, and keep the best candidates of each picture.

    Weak geometric consistency: Jegou, Douze, Schmid, "Hamming embedding and weak geometric consistency for large scale
    image search", ECCV 2008, section 4.
    """
    bins = []
    for octave_shift in (0.0, 0.5):
        for turn_shift in (0.0, 0.5):
            octave = np.floor(votes["octaves"] + octave_shift).astype(np.int64) + 8
            turn = np.floor(votes["turn"] / (2 * np.pi) * _TURNS + turn_shift).astype(np.int64) % _TURNS
            bins.append((np.clip(octave, 0, 15) * _TURNS + turn) * 4 + votes["look"])
    totals = []
    for place in bins:
        order = np.lexsort((place, votes["pair"]))
        pair, key = votes["pair"][order], place[order]
        fresh = np.flatnonzero(np.append(True, (np.diff(pair) != 0) | (np.diff(key) != 0))[: len(pair)])
        count = np.diff(np.append(fresh, len(pair)))
        total = np.add.reduceat(votes["weight"][order], fresh) if len(fresh) else np.empty(0)
        enough = count >= _FEWEST
        totals.append((pair[fresh][enough], key[fresh][enough] % 4, total[enough]))
    pair = np.concatenate([part[0] for part in totals])
    look = np.concatenate([part[1] for part in totals]).astype(np.int64)
    total = np.concatenate([part[2] for part in totals]).astype(np.float64)
    order = np.argsort(-total, kind="stable")
    pair, look = pair[order], look[order]
    once = np.sort(np.unique(pair * 4 + look, return_index=True)[1])
    first, second = pair[once] >> 32, pair[once] & 0xFFFFFFFF
    kept = _rank(second) < _MOST
    if same:
        kept |= _rank(first) < _MOST
    return np.stack((first, second, look[once]))[:, kept]


def _rank(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how often each value came before: (P,)."""
    order = np.argsort(values, kind="stable")
    rank = np.empty(len(values), np.int64)
    rank[order] = np.arange(len(values)) - np.searchsorted(values[order], values[order])
    return rank
