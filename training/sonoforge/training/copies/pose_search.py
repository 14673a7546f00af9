"""Look for the middle of every picture inside every other one, at every pose on a grid.

The near-duplicate search that shapes the folds cannot notice what it misses, so this one shares nothing with it: no
hash, no local features, no list of candidates.  Every window of every picture is looked up.

A *query* is the central square of a picture, 0.6 of its shorter side wide, on 12 x 12 cells.  A *key* is the same
square anywhere in another picture, at 5 sizes and 5 angles: some 5000 windows.  Each becomes a vector: detail at the
scale of the cells, divided by its local strength so that marks and borders weigh no more than tissue, whitened by the
covariance of the set's own queries so that what all pictures share (layers, an outline) counts for little, and scaled
to length 1.  The score of a pair is the largest scalar product over all windows, of the query or its mirror image,
upright or upside down (together: a half turn), of either sign (an inverted copy).  As either picture of a pair may be
the query, sizes up to 1 suffice.

Vectors have two parts, even and odd under mirroring.  Mirroring only changes the sign of the second, so the best of
query and mirror image, of either sign, is the sum of two magnitudes: half the products.

A window is compared with the queries in the nearest cells of an inverted file (`cells`): all of them in a set of up to
64 pictures, and so few in a large one that time grows little faster than the number of pictures.  From each cell it
takes the most alike query of another group.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from sonoforge.training.copies.cells import Cells, rank, sort_into_cells, visits
from sonoforge.training.copies.pictures import Look
from sonoforge.training.progress import in_threads

Picture = NDArray[np.float32]  # (H, W) grey in [0, 1]
Matrix = NDArray[np.float64]  # (2, 3): a point (x, y, 1) of the query to the point (x, y) of the key, in pixels

# Pictures this small gain nothing from OpenCV's own threads, on which a forked process would hang.
cv2.setNumThreads(1)

SIDE = 128
"""Longest side of a picture in pixels."""

_DIMENSIONS = 64  # hold 96 % of the variance of BUSI's queries
_WHITENING = 0.7  # of the full exponent, which would raise the noise of the weakest directions
_FLAT = 0.15  # RMS of normalised detail (1 where there is any) below which a window shows nothing
_BLOCK = 64  # queries at a time, so that their products with 5000 windows fit into the processor's cache
_SAMPLE = 64  # pictures from which typical scores are estimated
_KEYS = 64  # pictures whose windows are looked up together
_VISITORS = 2048  # windows of a cell at a time, for the same reason as `_BLOCK`
_KEPT = 8  # queries for each key
_QUERIES_A_CELL = 128
_CELLS_OF_A_WINDOW = 4
_SAMPLED_VECTORS = 20_000
_BAR = 16  # grey levels, between the 5th and the 95th percentile of a line; noise of 4 spans 13
_FAINT = 0.004  # of full scale: one grey level, below which detail is noise


class Lattice(NamedTuple):
    """Which windows of a picture are looked at."""

    cells: int  # across a window
    width: float  # of a window at size 1, as a share of the shorter side
    sizes: tuple[float, ...]
    angles: tuple[float, ...]  # degrees
    reach: float  # share of width and height by which a window's middle may differ from the picture's

    def cell_of(self, picture: Picture, size: float = 1.0) -> float:
        """Return the side of a cell in pixels."""
        return self.width * float(min(picture.shape)) * size / self.cells


# Windows smaller than 0.6 hold too little to tell pictures apart.  A copy enlarged up to 1.5 times is met within 5 % of
# its size and 2.5 degrees of its angle: at the border of a window 0.4 of a cell, about half a step of the positions,
# which detail blurred by half a cell tolerates.
_LATTICE = Lattice(cells=12, width=0.6, sizes=(1.0, 0.91, 0.83, 0.75, 0.68), angles=(-10, -5, 0, 5, 10), reach=0.27)


class Grid(NamedTuple):
    """Windows of one size and angle."""

    cells: int  # across a window
    cell: float  # side of a cell in pixels
    angle: float  # radians
    across: int  # cells from the middle position to the outermost, in x
    down: int  # in y


class Found(NamedTuple):
    """The pairs that stand out most, best first."""

    key: NDArray[np.int64]  # (P,) picture whose windows were looked up
    query: NDArray[np.int64]  # (P,) picture whose middle was found in it
    # (P,): 8 x number of the window + 4 if upside down + 2 if mirrored + 1 if inverted
    code: NDArray[np.int64]


def shrink(picture: NDArray[np.uint8]) -> Picture:
    """Crop bars off a grey (H, W) uint8 picture and scale its longest side to `SIDE` pixels; values in [0, 1]."""
    rows, columns = (_without_bars(lines) for lines in (picture, picture.T))
    inner = picture[rows, columns].astype(np.float32) / np.float32(255)
    height, width = inner.shape
    scale = SIDE / max(height, width)
    size = max(2, round(width * scale)), max(2, round(height * scale))
    shrunk: Picture = cv2.resize(inner, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)  # type: ignore[assignment]
    return shrunk


def _without_bars(lines: NDArray[np.uint8]) -> slice:
    """Return the lines without those at both ends that show only one grey and noise; at least the middle third."""
    low, high = np.percentile(lines, (5, 95), axis=1)
    filled = np.flatnonzero(high - low > _BAR)
    if len(filled) == 0:
        return slice(0, len(lines))
    return slice(min(int(filled[0]), len(lines) // 3), max(int(filled[-1]) + 1, len(lines) - len(lines) // 3))


def detail(picture: Picture, cell: float) -> Picture:
    """Keep detail about as large as a cell (pixels), at the same strength everywhere."""
    band = cv2.GaussianBlur(picture, (0, 0), 0.5 * cell) - cv2.GaussianBlur(picture, (0, 0), 2 * cell)
    strength = np.sqrt(cv2.GaussianBlur(band * band, (0, 0), 3 * cell))
    evened: Picture = np.divide(band, strength + _FAINT, dtype=np.float32)
    return evened


def cell_of(picture: Picture) -> float:
    """Return the side of a cell of the query in pixels."""
    return _LATTICE.cell_of(picture)


def cut_middle(picture: Picture, lattice: Lattice) -> NDArray[np.float32]:
    """Return the (1, cells * cells) detail of the upright window of size 1 in the middle of a picture."""
    cell = lattice.cell_of(picture)
    return _cut(detail(picture, cell), Grid(lattice.cells, cell, 0.0, 0, 0))


def search(pictures: Sequence[Picture], groups: NDArray[np.int64], count: int, title: str = "") -> Found:
    """Return the ``count`` pairs of N pictures of different groups (N,) that stand out most, best first.

    A picture of one dark disc resembles all that have one.  So a score counts by how far it lies above the median
    score of each of the two pictures with a sample of all pictures, in units of the ninth decile above that median.
    ``title``: see `in_threads`.
    """
    middles = np.concatenate([cut_middle(picture, _LATTICE) for picture in pictures])
    bases = _whitening_bases(middles)
    queries = [project_onto(bases, middles), project_onto(bases, _flipped(middles, 0))]
    sample = np.sort(np.random.default_rng(0).permutation(len(pictures))[:_SAMPLE])
    sampled = [Parts(turned.even[sample], turned.odd[sample]) for turned in queries]
    index = _sort_queries(queries)

    def windows_of(key: int) -> Parts:
        return project_onto(bases, cut_windows(pictures[key], _LATTICE))

    def look_up(keys: NDArray[np.int64]) -> NDArray[np.void]:
        windows = [windows_of(key) for key in keys.tolist()]
        found = _look_up(index, windows, groups, keys)
        of_keys = _median_and_spread([_best_scores(sampled, own) for own in windows])[:, found["key"]]
        found["key"] = keys[found["key"]]
        typical = np.stack((of_keys, of_queries[:, found["query"]]))
        found["score"] = ((found["score"] - typical[:, 0]) / typical[:, 1]).min(axis=0)
        order = np.lexsort((-found["score"], found["key"]))
        return found[order[rank(found["key"][order]) < _KEPT]]

    best_of_sample = in_threads(lambda key: _best_scores(queries, windows_of(key)), sample.tolist())
    of_queries = _median_and_spread(np.stack(best_of_sample).T)
    blocks = np.array_split(np.arange(len(pictures)), -(-len(pictures) // _KEYS))
    found = np.concatenate(in_threads(look_up, blocks, title))
    found = found[np.argsort(-found["score"], kind="stable")]
    pairs = np.sort(np.stack((found["key"], found["query"])), axis=0)  # either picture may be the query
    once = np.sort(np.unique(pairs, axis=1, return_index=True)[1])[:count]
    return Found(*(found[name][once].astype(np.int64) for name in ("key", "query", "code")))


_PAIR = np.dtype([("key", np.int32), ("query", np.int32), ("code", np.int32), ("score", np.float32)])


def _best_scores(queries: Sequence[Parts], windows: Parts) -> NDArray[np.float32]:
    """Return the score of each of N queries with a key, (N,), upright or upside down."""
    count = len(queries[0].even)
    blocks = [slice(begin, begin + _BLOCK) for begin in range(0, count, _BLOCK)]
    turned = [np.concatenate([best_window(own, windows, some)[0] for some in blocks]) for own in queries]
    best: NDArray[np.float32] = np.maximum(*turned)
    return best


def _median_and_spread(scores: Sequence[NDArray[np.float32]] | NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the median score of each of N pictures, and the distance of the ninth decile from it: (2, N)."""
    median, high = np.quantile(scores, (0.5, 0.9), axis=1)
    return np.stack((median, np.maximum(high - median, 1e-3))).astype(np.float32)


def _sort_queries(queries: Sequence[Parts]) -> Cells:
    """Sort the queries into cells, upright and upside down, each plain, inverted, mirrored and both."""
    vectors = np.concatenate(
        [
            np.concatenate((invert * turned.even, invert * mirror * turned.odd), axis=1)
            for turned in queries
            for mirror in (1, -1)
            for invert in (1, -1)
        ]
    )
    sample = np.random.default_rng(1).permutation(len(vectors))[: max(_SAMPLED_VECTORS, len(vectors) // 16)]
    return sort_into_cells(vectors, _QUERIES_A_CELL, sample)


def _look_up(
    index: Cells, windows: Sequence[Parts], groups: NDArray[np.int64], keys: NDArray[np.int64]
) -> NDArray[np.void]:
    """Return the best window for each query of another group that is nearest to one in its cell, as (P,) `_PAIR`.

    Keys are given as places in ``keys``.
    """
    points = np.concatenate([np.concatenate(parts, axis=1) for parts in windows])
    lengths = [len(parts.even) for parts in windows]
    owner = np.repeat(np.arange(len(windows)), lengths)
    number = np.concatenate([np.arange(length) for length in lengths])
    shown = np.flatnonzero(np.einsum("ij,ij->i", points, points))
    points, owner, number = points[shown], owner[shown], number[shown]
    count = len(groups)
    parts = [np.empty(0, _PAIR)]
    for cell, visitors in visits(index, points, _CELLS_OF_A_WINDOW):
        members = slice(index.start[cell], index.start[cell + 1])
        vectors, place = index.vectors[members].T, index.place[members]
        query = place % count
        for begin in range(0, len(visitors), _VISITORS):
            own = visitors[begin : begin + _VISITORS]
            best, score = _best_of_others(points[own] @ vectors, groups[keys[owner[own]]], groups[query])
            pairs = np.empty(len(own), _PAIR)
            pairs["key"], pairs["query"], pairs["score"] = owner[own], query[best], score
            pairs["code"] = 8 * number[own] + place[best] // count
            parts.append(pairs[pairs["score"] > 0])
    found = np.concatenate(parts)
    order = np.lexsort((-found["score"], found["query"], found["key"]))
    found = found[order]
    fresh = np.ones(len(found), bool)
    fresh[1:] = (np.diff(found["key"]) != 0) | (np.diff(found["query"]) != 0)
    return found[fresh]


def _best_of_others(
    products: NDArray[np.float32], of_rows: NDArray[np.int64], of_columns: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the column of each row's largest product with another group, and that product (-1: none)."""
    best = products.argmax(axis=1)
    own = np.flatnonzero(of_columns[best] == of_rows)
    products[own] = np.where(of_columns == of_rows[own, None], -1, products[own])
    best[own] = products[own].argmax(axis=1)
    return best, products[np.arange(len(best)), best]


def best_window(
    queries: Parts, windows: Parts, some: slice
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """Return the score of some queries, the number of the window, and 2 if mirrored + 1 if inverted."""
    even, odd = queries.even[some], queries.odd[some]
    products, other = even @ windows.even.T, odd @ windows.odd.T
    np.abs(products, out=products)
    products += np.abs(other, out=other)
    best = products.argmax(axis=1)
    first = np.einsum("ij,ij->i", even, windows.even[best])
    second = np.einsum("ij,ij->i", odd, windows.odd[best])
    mirrored = first * second < 0
    inverted = first + np.where(mirrored, -second, second) < 0
    return products[np.arange(len(best)), best], best, 2 * mirrored + inverted


def flip(picture: Picture, *, mirrored: bool, upside_down: bool) -> Picture:
    """Swap left and right, top and bottom, both, or neither."""
    return np.ascontiguousarray(picture[:: -1 if upside_down else 1, :: -1 if mirrored else 1])


def start_of(code: int, query: Picture, key: Picture) -> tuple[Look, Matrix]:
    """Decode a code of `Found`: how the query is transformed, and the map that takes it to the key."""
    grid, right, below = place_of(code // 8, key, _LATTICE)
    turn = rotation(grid.angle)
    middle = _middle(key) + turn @ (grid.cell * np.array([right, below]))
    linear = turn * grid.cell / cell_of(query)
    matrix = np.column_stack((linear, middle - linear @ _middle(query)))
    return Look(mirrored=bool(code & 2), inverted=bool(code & 1), upside_down=bool(code & 4)), matrix


def place_of(window: int, picture: Picture, lattice: Lattice) -> tuple[Grid, int, int]:
    """Return the grid of a window by its number, and how many cells it lies to the right of and below the middle."""
    for grid in _grids(picture, lattice):
        columns = 2 * grid.across + 1
        number = columns * (2 * grid.down + 1)
        if window < number:
            row, column = divmod(window, columns)
            return grid, column - grid.across, row - grid.down
        window -= number
    raise ValueError(f"window {window} is beyond the last")


def _grids(picture: Picture, lattice: Lattice) -> list[Grid]:
    """Return the grids of a picture in the order of `cut_windows`."""
    height, width = picture.shape
    grids = []
    for size in lattice.sizes:
        cell = lattice.cell_of(picture, size)
        # A window may stick out by 0.04 of the shorter side, about a cell at most.
        room = [side - lattice.width * min(height, width) * size for side in (width, height)]
        across, down = (
            max(0, int(min(lattice.reach * side, free / 2 + 0.04 * min(height, width)) / cell))
            for side, free in zip((width, height), room, strict=True)
        )
        grids += [Grid(lattice.cells, cell, float(np.deg2rad(angle)), across, down) for angle in lattice.angles]
    return grids


def cut_windows(picture: Picture, lattice: Lattice) -> NDArray[np.float32]:
    """Return the (K, cells * cells) detail of all windows."""
    grids = _grids(picture, lattice)
    filtered = {cell: detail(picture, cell) for cell in {grid.cell for grid in grids}}
    return np.concatenate([_cut(filtered[grid.cell], grid) for grid in grids])


def _cut(filtered: Picture, grid: Grid) -> NDArray[np.float32]:
    """Sample a turned lattice of cells and take every square of it."""
    columns, rows = 2 * grid.across + grid.cells, 2 * grid.down + grid.cells
    linear = rotation(grid.angle) * grid.cell
    shift = _middle(filtered) - linear @ np.array([(columns - 1) / 2, (rows - 1) / 2])
    lattice = warp(filtered, np.column_stack((linear, shift)), (rows, columns))
    squares = np.lib.stride_tricks.sliding_window_view(lattice, (grid.cells, grid.cells))
    return squares.reshape(-1, grid.cells**2)


def warp(picture: Picture, matrix: Matrix, shape: tuple[int, ...]) -> Picture:
    """Return the (H, W) picture that shows at (x, y) the point ``matrix @ (x, y, 1)`` of another, 0 outside it."""
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    warped: Picture = cv2.warpAffine(picture, matrix, (shape[1], shape[0]), flags=flags)  # type: ignore[assignment]
    return warped


def backwards(matrix: Matrix) -> Matrix:
    """Invert the map between query and key."""
    return np.asarray(cv2.invertAffineTransform(matrix), np.float64)


class Parts(NamedTuple):
    """Vectors split into parts even and odd under mirroring; windows in rows, a basis in columns."""

    even: NDArray[np.float32]  # (K, E)
    odd: NDArray[np.float32]  # (K, D - E)


def project_onto(bases: Parts, windows: NDArray[np.float32]) -> Parts:
    """Project (K, cells * cells) windows onto the columns of two bases: vectors of length 1, or 0 for flat windows."""
    even, odd = windows @ bases.even, windows @ bases.odd
    square = np.einsum("ij,ij->i", even, even) + np.einsum("ij,ij->i", odd, odd)
    flat = np.einsum("ij,ij->i", windows, windows) < _FLAT**2 * windows.shape[1]
    scale = np.where(flat, 0, 1 / np.maximum(np.sqrt(square), 1e-6)).astype(np.float32)[:, None]
    return Parts(even * scale, odd * scale)


def _whitening_bases(queries: NDArray[np.float32]) -> Parts:
    """Return the bases that whiten windows by the covariance of (N, 144) queries and their mirror images."""
    centred = queries - queries.mean(axis=1, keepdims=True)
    mirrored = _flipped(centred, 1)
    # The covariance of queries and mirror images together falls into these two parts.
    parts = [np.linalg.eigh(part.T @ part / len(part)) for part in (centred + mirrored, centred - mirrored)]
    values = np.sort(np.concatenate([values for values, _ in parts]))[::-1]
    bases = []
    for own, axes in parts:
        kept = own >= values[_DIMENSIONS - 1]
        basis = axes[:, kept] * np.maximum(own[kept], values[0] * 1e-3) ** (-_WHITENING / 2)
        bases.append((basis - basis.mean(axis=0)).astype(np.float32))  # removes the mean of each window
    return Parts(*bases)


def _flipped(windows: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """Swap top and bottom (axis 0) or left and right (axis 1) of (K, 144) windows."""
    squares = windows.reshape(-1, _LATTICE.cells, _LATTICE.cells)
    return np.flip(squares, axis + 1).reshape(windows.shape)


def rotation(angle: float) -> NDArray[np.float64]:
    """Return the (2, 2) turn by an angle in radians, from x towards y."""
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def _middle(picture: Picture) -> NDArray[np.float64]:
    return (np.array(picture.shape[::-1]) - 1) / 2
