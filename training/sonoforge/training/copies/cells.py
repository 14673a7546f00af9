"""Build an inverted file: sort vectors into cells around centres, so that each is compared with only a few cells.

Sivic and Zisserman, "Video Google", ICCV 2003; Jegou, Douze, Schmid, "Product quantization for nearest neighbor
search", TPAMI 33(1), 2011, section IV.  If there are many centres, they are sorted into cells too.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sonoforge.training.copies.pictures import stack_on_disk
from sonoforge.training.progress import in_threads

_ROUNDS = 6  # of k-means; the cells need not be optimal
_MOST_CENTRES = 2048  # compared one by one
_CENTRES_A_CELL = 64
_CELLS_OF_CENTRES = 4  # in which a point looks for its nearest centres
_BLOCK, _ROWS = 4096, 65536


class Cells(NamedTuple):
    """T vectors of D dimensions, sorted by cell."""

    centres: NDArray[np.float32]  # (C, D)
    start: NDArray[np.int64]  # (C + 1,) where each cell begins
    vectors: NDArray[Any]  # (T, D) float32 or float16
    place: NDArray[np.int64]  # (T,) original place of each
    above: Cells | None  # cells of the centres, where there are many


def sort_into_cells(vectors: NDArray[Any], size: int, sample: NDArray[np.int64]) -> Cells:
    """Sort (T, D) vectors into cells of about ``size``, by a few rounds of k-means on a sample (places) of them."""

    def sort_many() -> Cells | None:
        many = len(centres) > _MOST_CENTRES
        return sort_into_cells(centres, _CENTRES_A_CELL, np.arange(len(centres))) if many else None

    points = vectors[sample].astype(np.float32)
    centres = points[: max(1, len(vectors) // size)].copy()
    for _ in range(_ROUNDS):
        cell = _nearest_centres(points, centres, sort_many(), 1)[:, 0]
        order = np.argsort(cell, kind="stable")
        filled, start = np.unique(cell[order], return_index=True)
        centres[filled] = np.add.reduceat(points[order], start) / np.diff(np.append(start, len(order)))[:, None]
    above = sort_many()
    nearest = functools.partial(_nearest_centres, centres=centres, above=above, count=1)
    cell = np.concatenate(in_threads(nearest, np.array_split(vectors, max(1, len(vectors) // _ROWS))))[:, 0]
    order = np.argsort(cell, kind="stable")
    start = np.searchsorted(cell[order], np.arange(len(centres) + 1))
    blocks = (vectors[order[begin : begin + _ROWS]] for begin in range(0, len(order), _ROWS))
    return Cells(centres, start, stack_on_disk(blocks, vectors.dtype, vectors.shape[1:]), order, above)


def visits(cells: Cells, points: NDArray[np.float32], count: int) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Yield each cell with the places of the points (P, D) that have it among their ``count`` nearest."""
    for cell, turns in _turns(cells, points, count):
        yield cell, turns // min(count, len(cells.centres))


def _turns(cells: Cells, points: NDArray[np.float32], count: int) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Yield each cell with its places in the table of the nearest centres, a row for each point."""
    nearest = _nearest_centres(points, cells.centres, cells.above, count)
    order = np.argsort(nearest, axis=None, kind="stable")
    start = np.searchsorted(nearest.reshape(-1)[order], np.arange(len(cells.centres) + 1))
    for cell in np.flatnonzero((np.diff(start) > 0) & (np.diff(cells.start) > 0)).tolist():
        yield cell, order[start[cell] : start[cell + 1]]


def _nearest_centres(
    points: NDArray[Any], centres: NDArray[np.float32], above: Cells | None, count: int
) -> NDArray[np.int64]:
    """Return the ``count`` centres nearest to each point, nearest first: (P, count), or fewer columns."""
    nearest = np.empty((len(points), min(count, len(centres))), np.int64)
    norm = (centres * centres).sum(axis=1) / 2
    # With many cells of centres, each would have only a few visitors in a small block, and cost as much as with many.
    size = _BLOCK if above is None else _ROWS
    for start in range(0, len(points), size):
        block = points[start : start + size].astype(np.float32)
        if above is None:
            closeness = block @ centres.T
            closeness -= norm
            nearest[start : start + size] = _largest(closeness, nearest.shape[1])
            continue
        # First the best of each cell of centres that a point looks into, then the best of these.
        cells, kept = min(_CELLS_OF_CENTRES, len(above.centres)), nearest.shape[1]
        best = np.full((len(block) * cells, kept), -np.inf, np.float32)
        found = np.zeros(best.shape, np.int64)
        for cell, turns in _turns(above, block, cells):
            members = slice(above.start[cell], above.start[cell + 1])
            closeness = block[turns // cells] @ above.vectors[members].T
            closeness -= norm[above.place[members]]
            first = _largest(closeness, kept)
            best[turns, : first.shape[1]] = np.take_along_axis(closeness, first, axis=1)
            found[turns, : first.shape[1]] = above.place[members][first]
        best, found = best.reshape(len(block), -1), found.reshape(len(block), -1)
        nearest[start : start + size] = np.take_along_axis(found, _largest(best, kept), axis=1)
    return nearest


def _largest(values: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """Return the columns of the largest values of each row, largest first: (R, count), or fewer."""
    count = min(count, values.shape[1])
    if count == 1:
        return np.asarray(values.argmax(axis=1)[:, None])
    rows, columns, left = np.arange(len(values)), np.empty((len(values), count), np.int64), values.copy()
    for place in range(count):
        columns[:, place] = left.argmax(axis=1)
        left[rows, columns[:, place]] = -np.inf
    return columns


def rank(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how often each value occurred before: (P,)."""
    order = np.argsort(values, kind="stable")
    rank = np.empty(len(values), np.int64)
    rank[order] = np.arange(len(values)) - np.searchsorted(values[order], values[order])
    return rank
