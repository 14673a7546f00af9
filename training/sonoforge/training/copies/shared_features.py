"""Find candidates with shared local features, without comparing all pairs.

Descriptors are compared only with those of their own `cells`.  Each near pair of descriptors votes for its pair of
pictures; a descriptor near many others (a caption, the edge of a frame) divides its vote among them.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sonoforge.training.copies.cells import Cells, rank, sort_into_cells, visits
from sonoforge.training.copies.local_features import HALF_MIRRORED, LOOKS, LocalFeatures, descriptor_order
from sonoforge.training.copies.pictures import on_disk, stack_on_disk
from sonoforge.training.progress import as_done, in_threads

_COMPONENTS = 32  # principal components of the descriptors that are compared
_CELLS_OF_A_DESCRIPTOR = 2  # cells in which a descriptor is looked up; its own is the nearest
_DESCRIPTORS_A_CELL = 512
_SAMPLE = 40_000  # descriptors from which the components are computed
_POINTS_A_CENTRE = 8
_PICTURES = 4096  # looked up together
_BLOCK = 4096  # descriptors projected together, so that the result fits into the processor's cache
_FEWEST_HALVED = 100  # pictures: drawings by one program, of which small sets are made, look like their half mirrors
_NEAREST = 12  # matches kept for one descriptor, so that a common one does not fill the memory
_TURNS = 12
_FEWEST = 3  # near descriptors from which a pair of pictures is a candidate
_VOTES = 8_000_000  # added up together
_MOST = 8  # candidates kept for each picture, those with the most votes


class _Set(NamedTuple):
    """All features of a set of pictures, one after the other."""

    sizes: NDArray[np.float32]  # (T,)
    angles: NDArray[np.float32]  # (T,)
    owner: NDArray[np.int64]  # (T,) picture of each
    start: NDArray[np.int64]  # (N + 1,) where those of each picture begin
    pictures: Sequence[LocalFeatures]

    @classmethod
    def of(cls, pictures: Sequence[LocalFeatures]) -> _Set:
        """Join the features of N pictures."""
        none = [np.empty(0, np.float32)]
        start = np.concatenate(([0], np.cumsum([len(one.sizes) for one in pictures], dtype=np.int64)))
        return cls(
            np.concatenate([*none, *(one.sizes for one in pictures)]),
            np.concatenate([*none, *(one.angles for one in pictures)]),
            np.repeat(np.arange(len(pictures)), np.diff(start)),
            start,
            pictures,
        )

    def descriptors(self, places: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return some descriptors, (P, 128)."""
        found = np.empty((len(places), 128), np.uint8)
        for row, (place, owner) in enumerate(zip(places.tolist(), self.owner[places].tolist(), strict=True)):
            found[row] = self.pictures[owner].descriptors[place - self.start[owner]]
        return found

    def block(self, first: int) -> NDArray[np.uint8]:
        """Return the descriptors of `_PICTURES` pictures, starting with the given one."""
        return np.concatenate([one.descriptors for one in self.pictures[first : first + _PICTURES]])


def find_candidates(
    indexed: Sequence[LocalFeatures], asked: Sequence[LocalFeatures] | None = None, near_by_chance: float = 0.005
) -> NDArray[np.int64]:
    """Find the pairs of pictures that share local features, those with the most votes first.

    Args:
        indexed: Features of N pictures.
        asked: Features of M pictures of another set, each searched for in the first; None for pairs within ``indexed``.
        near_by_chance: Share of unrelated descriptors that find one near enough to vote; coarse ones need more.

    Returns:
        (3, P): index of one, index of the other (larger within a set), place in `LOOKS` of how the second is
        transformed; each pair once with each look.
    """
    base = _Set.of(indexed)
    queries = base if asked is None else _Set.of(asked)
    total = len(base.sizes)
    if not total or not len(queries.sizes):
        return np.empty((3, 0), np.int64)
    enough = max(_SAMPLE, total // _DESCRIPTORS_A_CELL * _POINTS_A_CENTRE)
    sample = np.random.default_rng(0).permutation(total)[:enough]
    points = base.descriptors(sample[:_SAMPLE]).astype(np.float32)
    middle = points.mean(axis=0)
    principal = np.linalg.eigh(np.cov((points - middle).T))[1][:, : -_COMPONENTS - 1 : -1]
    space = _Space(middle, np.ascontiguousarray(principal, np.float32))
    blocks = (base.block(first) for first in range(0, len(indexed), _PICTURES))
    vectors = stack_on_disk((_project(block, space) for block in blocks), np.float16, (_COMPONENTS,))
    index = sort_into_cells(vectors, _DESCRIPTORS_A_CELL, sample)
    limit = _near_limit(index, queries, space, near_by_chance)

    def vote(task: tuple[int, int]) -> NDArray[np.void]:
        first, look = task
        near = _near_descriptors(index, _project(queries.block(first), space, look), limit)
        votes = _votes(base, queries, near._replace(query=queries.start[first] + near.query), look, asked is None)
        return votes[np.argsort(votes["pair"], kind="stable")]

    tasks = itertools.product(range(0, len(queries.pictures), _PICTURES), range(len(LOOKS)))
    return _best_of_each_picture(_count(on_disk(as_done(vote, tasks))), asked is None)


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


def _project(vectors: NDArray[np.uint8], space: _Space, look: int = 0) -> NDArray[np.float32]:
    """Project (T, 128) descriptors, transformed by a place in `LOOKS`, onto the axes: (T, D)."""
    # Permuting the axes inversely is cheaper than permuting every descriptor.
    axes = np.empty_like(space.axes)
    axes[descriptor_order(LOOKS[look])] = space.axes
    origin = space.middle @ space.axes
    projected = np.empty((len(vectors), _COMPONENTS), np.float32)
    for start in range(0, len(vectors), _BLOCK):
        rows = slice(start, start + _BLOCK)
        np.matmul(vectors[rows].astype(np.float32), axes, out=projected[rows])
        projected[rows] -= origin
    return projected


def _distances(index: Cells, cell: int, points: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (Q, members) squared distances of points to a cell's members, minus each point's own squared length."""
    members = index.vectors[index.start[cell] : index.start[cell + 1]].astype(np.float32)
    norm = np.einsum("md,md->m", members, members)
    members *= -2
    distance: NDArray[np.float32] = points @ members.T
    distance += norm
    return distance


def _near_limit(index: Cells, queries: _Set, space: _Space, quantile: float) -> float:
    """Return the squared distance below which two descriptors are unusually near.

    It is measured with negatives, and with descriptors mirrored by halves, in places or directions alone: no copy looks
    like these, however many negatives a set holds.
    """
    rng = np.random.default_rng(1)
    chosen = queries.descriptors(rng.permutation(len(queries.sizes))[:5000])
    limits = []
    halves = HALF_MIRRORED if len(queries.pictures) >= _FEWEST_HALVED else ()
    for order in (*(descriptor_order(look) for look in LOOKS if look.inverted), *halves):
        points = _project(chosen[:, order], space)
        nearest = np.full(len(points), np.inf)
        for cell, visitors in visits(index, points, _CELLS_OF_A_DESCRIPTOR):
            distance = _distances(index, cell, points[visitors])
            nearest[visitors] = np.minimum(nearest[visitors], distance.min(axis=1))
        limits.append(float(np.quantile(nearest + (points * points).sum(axis=1), quantile)))
    return max(limits)


def _near_descriptors(index: Cells, points: NDArray[np.float32], limit: float) -> _Near:
    """Find the indexed descriptors within a squared distance of each of (T, D) points."""
    query, found, distances = [np.empty(0, np.int64)], [np.empty(0, np.int64)], [np.empty(0, np.float32)]
    reach = limit - (points * points).sum(axis=1)
    for cell, visitors in visits(index, points, _CELLS_OF_A_DESCRIPTOR):
        for start in range(0, len(visitors), 2048):
            own = visitors[start : start + 2048]
            distance = _distances(index, cell, points[own])
            rows, columns = np.divmod(np.flatnonzero(distance <= reach[own, None]), distance.shape[1])
            values = distance[rows, columns]
            if len(rows) > _NEAREST * len(own):
                order = np.lexsort((values, rows))
                kept = order[rank(rows[order]) < 4 * _NEAREST]
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
    kept = kept[rank(near.query[kept]) < _NEAREST]
    query, place, asked, found = near.query[kept], near.found[kept], asked[kept], found[kept]
    _, nth, votes_of = np.unique(query, return_inverse=True, return_counts=True)
    votes = np.empty(len(kept), _VOTE)
    angle = queries.angles[query] + (np.float32(np.pi) if LOOKS[look].inverted else 0)
    angle = np.float32(np.pi) - angle if LOOKS[look].mirrored else angle
    octaves = np.log2(queries.sizes[query] / base.sizes[place])
    turn = angle - base.angles[place]
    if same:
        # A pair is noted from its first picture to its second; both descriptors of a pair find each other.
        swapped = asked < found
        octaves = np.where(swapped, -octaves, octaves)
        turn = np.where(swapped & ~np.bool_(LOOKS[look].mirrored), -turn, turn)
        low, high = np.minimum(asked, found), np.maximum(asked, found)
    else:
        low, high = found, asked
    votes["pair"] = low << 32 | high
    votes["look"], votes["weight"] = look, 1 / votes_of[nth]
    votes["octaves"], votes["turn"] = octaves, turn
    return votes


class _Counted(NamedTuple):
    """Pairs of pictures with enough agreeing votes, once for each scale and rotation."""

    pair: NDArray[np.int64]
    look: NDArray[np.int64]
    total: NDArray[np.float64]


def _count(parts: Sequence[NDArray[np.void]]) -> _Counted:
    """Add up votes, in parts sorted by pair, one range of pairs at a time."""
    pairs = [part["pair"] for part in parts]
    # Ranges of about equally many votes, estimated from one vote in a thousand.
    some = np.sort(np.concatenate([pair[::1000] for pair in pairs]))
    ends = np.append(np.unique(some[_VOTES // 1000 :: _VOTES // 1000]), np.iinfo(np.int64).max)
    places = [np.concatenate(([0], np.searchsorted(pair, ends, side="right"))) for pair in pairs]

    def count(number: int) -> _Counted:
        own = [part[place[number] : place[number + 1]] for part, place in zip(parts, places, strict=True)]
        return _agreeing(np.concatenate(own))

    counted = in_threads(count, range(len(ends)))
    return _Counted._make(np.concatenate(fields) for fields in zip(*counted, strict=True))


def _agreeing(votes: NDArray[np.void]) -> _Counted:
    """Add up the votes that agree on a scale and a rotation, if there are enough.

    Weak geometric consistency: Jegou, Douze, Schmid, "Hamming embedding and weak geometric consistency for large scale
    image search", ECCV 2008, section 4.
    """
    totals = []
    for octave_shift, turn_shift in itertools.product((0.0, 0.5), repeat=2):
        octave = np.floor(votes["octaves"] + octave_shift).astype(np.int64) + 8
        turn = np.floor(votes["turn"] / (2 * np.pi) * _TURNS + turn_shift).astype(np.int64) % _TURNS
        place = (np.clip(octave, 0, 15) * _TURNS + turn) * 4 + votes["look"]
        order = np.lexsort((place, votes["pair"]))
        pair, key = votes["pair"][order], place[order]
        fresh = np.flatnonzero(np.append(True, (np.diff(pair) != 0) | (np.diff(key) != 0))[: len(pair)])
        count = np.diff(np.append(fresh, len(pair)))
        total = np.add.reduceat(votes["weight"][order], fresh) if len(fresh) else np.empty(0)
        enough = count >= _FEWEST
        totals.append((pair[fresh][enough], key[fresh][enough] % 4, total[enough].astype(np.float64)))
    return _Counted._make(np.concatenate(fields) for fields in zip(*totals, strict=True))


def _best_of_each_picture(counted: _Counted, same: bool) -> NDArray[np.int64]:
    """Keep the candidates of each picture with the most votes, each look once: (3, P), most votes first."""
    order = np.argsort(-counted.total, kind="stable")
    pair, look = counted.pair[order], counted.look[order]
    once = np.sort(np.unique(pair * 4 + look, return_index=True)[1])
    first, second = pair[once] >> 32, pair[once] & 0xFFFFFFFF
    kept = rank(second) < _MOST
    if same:
        kept |= rank(first) < _MOST
    return np.stack((first, second, look[once]))[:, kept]
