"""Search again for repeated scans, to check the first search: it shares types, cache and `cells`, but no features.

It looks for the middle of every picture (a query of 0.6 of its shorter side, on 12 x 12 cells), and of its edges,
inside every other one (a key), at 5 sizes, 5 angles and every place: some 5000 windows.  Each becomes a vector: detail
at the scale of the cells, divided by its local strength, whitened by the covariance of the set's own queries, and
scaled to length 1.  The score of a pair is the largest scalar product over all windows, of the query or its mirror
image, upright or upside down, of either sign.  The pairs that stand out most are aligned by an affine map, and their
overlap is correlated, in fine and in rough detail; a pair only counts far outside the set's own null distribution of
either.
"""

import functools
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from sonoforge.training.copies import pictures as whole
from sonoforge.training.copies.cells import Cells, rank, sort_into_cells, visits
from sonoforge.training.copies.confirmation import Comparison
from sonoforge.training.copies.local_features import Alignment
from sonoforge.training.copies.matches import Found, Match, Matches, find_once
from sonoforge.training.copies.pictures import Look
from sonoforge.training.progress import as_done, in_threads

log = logging.getLogger(__name__)

Picture = NDArray[np.float32]  # (H, W) grey in [0, 1]
Matrix = NDArray[np.float64]  # (2, 3): a point (x, y, 1) of one picture to the point (x, y) of another, in pixels
Groups = NDArray[np.int64]

# Pictures this small gain nothing from OpenCV's own threads, on which a forked process would hang.
cv2.setNumThreads(1)

SIDE = 128
"""Longest side of a picture in pixels."""

_SEARCH = "second-search3"  # with a new number, earlier results are not read
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

# Pairs to align for each picture of the set: of two pictures; of one and the edges of another, which stand out more.
_CANDIDATES = np.array([4, 0.5])
_BEYOND = 6.0  # standard deviations of the null distribution of the correlations' Fisher transform
# Slightly more than BUSI's null distribution gives; the floor for sets too small to have one, or as diverse as
# simulated ones.
_LOWEST = (0.45, 0.75)  # of the finer detail, of the rough
_LEAST_OVERLAP = 0.2  # of the area of either picture; less can agree by chance
# Sides of the detail in cells of the search.  The coarser aligns, in pictures of half the size.  The finer decides: in
# it, an outline that all pictures share is a small part and tissue a large one.  Mammograms of different women agree at
# 0.62 (95th percentile) in the coarser, at 0.4 in the finer.
_COARSER, _FINER = 0.5, 0.3
_ROUGH = 0.8  # new speckle hardly changes it; with a threshold of its own, as unrelated pictures share more of it
_STEPS, _PRECISION = (45, 18), 1e-3  # iterations in the coarser and the finer, and where they stop
_MOST_STRETCH = 1.35  # of one axis relative to the other; scans of one view differ by less, a collapsing map by more
_SCALES = (0.5, 2.0)
_DOUBLE = np.array([[2, 0, 0.5], [0, 2, 0.5], [0, 0, 1]])  # takes the point (x, y, 1) of a halved picture to the whole


class SecondSearch(NamedTuple):
    """The repeated scans of a set."""

    # The most alike first; in ``first`` the middle of ``second`` was found; the matrix is in pixels of `shrink`.
    matches: list[Match]
    threshold: float  # correlation from which two pictures count as one scan
    compared: int  # number of pairs compared


def search_again(
    pictures: Sequence[whole.Picture], hashes: Sequence[str], store: Path | None, groups: Groups
) -> SecondSearch:
    """Return what `find_repeated` finds in N grey (H, W) uint8 pictures, using a stored search if there is one.

    A stored search is valid for groups (N,) at least as coarse as its own, as it compared every pair that is still
    separate.
    """

    def find() -> Found:
        log.info("second opinion: comparing every image with those of other groups")
        # Both steps run in threads of their own; sharing out their small products again takes four times as long.
        with threadpool_limits(1, "blas"):
            found = find_repeated(pictures, groups, "second opinion")
        return Found(Matches.of(found.matches), [groups.tolist(), found.threshold, found.compared])

    def still_answers(found: Found) -> bool:
        before = np.array(found.facts[0])
        # Each earlier group lies inside one of the present groups.
        return len(np.unique(np.stack((before, groups)), axis=1)[0]) == len(np.unique(before))

    kept = find_once(store, _SEARCH, hashes, find, still_answers)
    _, threshold, compared = kept.facts
    apart = [match for match in kept.matches.rows if groups[match.first] != groups[match.second]]
    return SecondSearch(apart, threshold, compared)


def find_repeated(pictures: Sequence[whole.Picture], groups: Groups, title: str = "") -> SecondSearch:
    """Find the pairs of N grey (H, W) uint8 pictures of different groups (N,) that show one scan."""
    shrunk = whole.on_disk(as_done(shrink, pictures))
    shrunk += whole.on_disk(as_done(functools.partial(shrink, edges=True), pictures))

    def match(pair: tuple[int, int, int]) -> tuple[Match, float]:
        key, query, code = pair
        look, start = _start_of(code, shrunk[query], shrunk[key])
        compared, rough, matrix = _align(shrunk[query], shrunk[key], look, start)
        return Match.of(key, query % count, look, Alignment(backwards(matrix), 0), compared), rough

    count = len(pictures)
    found = _search(shrunk, groups, title)
    matches = in_threads(match, found.tolist(), title)
    both = np.array([(one.correlation, rough) for one, rough in matches]).reshape(-1, 2)
    null = both[count:][found[count:, 1] < count]
    thresholds = list(map(threshold_of, null.T, _LOWEST))
    alike = (both >= thresholds).any(axis=1)
    best: dict[frozenset[int], Match] = {}  # a pair may be found by its pictures and by their edges
    for one in sorted((matches[place][0] for place in np.flatnonzero(alike)), key=lambda one: -one.correlation):
        best.setdefault(frozenset((one.first, one.second)), one)
    sizes = np.unique(groups, return_counts=True)[1]
    compared = (len(groups) * (len(groups) - 1) - int((sizes * (sizes - 1)).sum())) // 2
    return SecondSearch(list(best.values()), thresholds[0], compared)


def threshold_of(null: NDArray[np.float64], lowest: float = _LOWEST[0]) -> float:
    """Return a correlation that unrelated pictures do not reach, given the correlations (P,) of unrelated pairs.

    It is six standard deviations above the median of Fisher's transform, which makes correlations nearly normal; six,
    not four, because the upper tail is longer. The deviation comes from the lower half, which holds no repeated scans.
    """
    values = np.arctanh(np.clip(null[null > -1], -0.999, 0.999))
    if len(values) < 20:  # quartiles of fewer mean little
        return lowest
    low, median = np.quantile(values, (0.25, 0.5))
    return max(lowest, float(np.tanh(median + _BEYOND * (median - low) / 0.6745)))


# ---- the windows of a picture


class Lattice(NamedTuple):
    """The windows of a picture to compare."""

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

    cells: int
    cell: float  # pixels
    angle: float  # radians
    across: int  # cells from the middle to the middle of the outermost, in x
    down: int  # in y


def shrink(picture: NDArray[np.uint8], edges: bool = False) -> Picture:
    """Crop bars off a grey (H, W) uint8 picture and scale its longest side to `SIDE` pixels; values in [0, 1].

    With ``edges``, show the strength of its finest detail instead.
    """
    rows, columns = (_without_bars(lines) for lines in (picture, picture.T))
    inner = picture[rows, columns].astype(np.float32) / np.float32(255)
    if edges:
        inner = np.minimum(np.abs(cv2.Laplacian(inner, cv2.CV_32F, ksize=3)), np.float32(1))
    height, width = inner.shape
    scale = SIDE / max(height, width)
    size = max(2, round(width * scale)), max(2, round(height * scale))
    return np.asarray(cv2.resize(inner, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC))


def _without_bars(lines: NDArray[np.uint8]) -> slice:
    """Drop lines at both ends that show only one grey level and noise; keep at least the middle third."""
    low, high = np.percentile(lines, (5, 95), axis=1)
    filled = np.flatnonzero(high - low > _BAR)
    if len(filled) == 0:
        return slice(0, len(lines))
    return slice(min(int(filled[0]), len(lines) // 3), max(int(filled[-1]) + 1, len(lines) - len(lines) // 3))


def _detail(picture: Picture, cell: float) -> Picture:
    """Keep detail about as large as a cell (pixels), at the same strength everywhere."""
    band = cv2.GaussianBlur(picture, (0, 0), 0.5 * cell) - cv2.GaussianBlur(picture, (0, 0), 2 * cell)
    strength = np.sqrt(cv2.GaussianBlur(band * band, (0, 0), 3 * cell))
    return np.asarray(np.divide(band, strength + _FAINT, dtype=np.float32))


def cut_middle(picture: Picture, lattice: Lattice) -> NDArray[np.float32]:
    """Return the (1, cells * cells) detail of the upright window of size 1 in the middle of a picture."""
    cell = lattice.cell_of(picture)
    return _cut(_detail(picture, cell), Grid(lattice.cells, cell, 0.0, 0, 0))


def cut_windows(picture: Picture, lattice: Lattice) -> NDArray[np.float32]:
    """Return the (K, cells * cells) detail of all windows."""
    grids = _grids(picture, lattice)
    filtered = {cell: _detail(picture, cell) for cell in {grid.cell for grid in grids}}
    return np.concatenate([_cut(filtered[grid.cell], grid) for grid in grids])


def _cut(filtered: Picture, grid: Grid) -> NDArray[np.float32]:
    """Sample a rotated lattice of cells and take every square of it."""
    columns, rows = 2 * grid.across + grid.cells, 2 * grid.down + grid.cells
    linear = rotation(grid.angle) * grid.cell
    shift = _middle(filtered) - linear @ np.array([(columns - 1) / 2, (rows - 1) / 2])
    lattice = warp(filtered, np.column_stack((linear, shift)), (rows, columns))
    squares = np.lib.stride_tricks.sliding_window_view(lattice, (grid.cells, grid.cells))
    return squares.reshape(-1, grid.cells**2)


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


def _start_of(code: int, query: Picture, key: Picture) -> tuple[Look, Matrix]:
    """Decode a code from `_search`: how the query is transformed, and its map to the key."""
    grid, right, below = place_of(code // 8, key, _LATTICE)
    turn = rotation(grid.angle)
    middle = _middle(key) + turn @ (grid.cell * np.array([right, below]))
    linear = turn * grid.cell / _LATTICE.cell_of(query)
    matrix = np.column_stack((linear, middle - linear @ _middle(query)))
    return Look(mirrored=bool(code & 2), inverted=bool(code & 1), upside_down=bool(code & 4)), matrix


# ---- the search over all windows


class Parts(NamedTuple):
    """Vectors split into parts that are even and odd under mirroring; windows in rows, a basis in columns.

    Mirroring only changes the sign of the odd part, so the best of query and mirror image, with either sign, is the sum
    of two magnitudes, which halves the products.
    """

    even: NDArray[np.float32]  # (K, E)
    odd: NDArray[np.float32]  # (K, D - E)


_PAIR = np.dtype([("key", np.int32), ("query", np.int32), ("code", np.int32), ("score", np.float32)])


def _search(pictures: Sequence[Picture], groups: Groups, title: str) -> NDArray[np.int64]:
    """Return the pairs of N pictures of different groups (N,) that stand out most, best first: (P, 3).

    ``pictures`` are 2 N, the edges of each behind (see `shrink`), which are queries alone. The columns are key, query,
    and 8 x window number + 4 if upside down + 2 if mirrored + 1 if inverted. A score counts by how far it is above the
    median score of either picture with a sample of all, in units of the ninth decile above it.
    """
    middles = np.concatenate([cut_middle(picture, _LATTICE) for picture in pictures])
    scans, of_both = len(groups), np.tile(groups, 2)
    bases = _whitening_bases(middles[:scans])
    queries = [project_onto(bases, middles), project_onto(bases, _flipped(middles, 0))]
    sample = np.sort(np.random.default_rng(0).permutation(scans)[:_SAMPLE])
    sampled = [Parts(turned.even[sample], turned.odd[sample]) for turned in queries]
    index = _sort_queries(queries)

    def windows_of(key: int) -> Parts:
        return project_onto(bases, cut_windows(pictures[key], _LATTICE))

    def look_up(keys: NDArray[np.int64]) -> NDArray[np.void]:
        windows = [windows_of(key) for key in keys.tolist()]
        found = _look_up(index, windows, of_both, keys)
        of_keys = _median_and_spread([_best_scores(sampled, own) for own in windows])[:, found["key"]]
        found["key"] = keys[found["key"]]
        typical = np.stack((of_keys, of_queries[:, found["query"]]))
        found["score"] = ((found["score"] - typical[:, 0]) / typical[:, 1]).min(axis=0)
        order = np.argsort(-found["score"], kind="stable")
        of_kind = 2 * found["key"].astype(np.int64) + (found["query"] >= scans)
        return found[order[rank(of_kind[order]) < _KEPT]]

    best_of_sample = in_threads(lambda key: _best_scores(queries, windows_of(key)), sample.tolist())
    of_queries = _median_and_spread(np.stack(best_of_sample).T)
    blocks = np.array_split(np.arange(scans), -(-scans // _KEYS))
    found = np.concatenate(in_threads(look_up, blocks, title))
    found = found[np.argsort(-found["score"], kind="stable")]
    pairs = np.sort(np.stack((found["key"], found["query"])), axis=0)  # either picture may be the query
    once = np.sort(np.unique(pairs, axis=1, return_index=True)[1])
    edged = (found["query"][once] >= scans).astype(np.int64)
    once = once[rank(edged) < scans * _CANDIDATES[edged]]
    return np.stack([found[name][once].astype(np.int64) for name in ("key", "query", "code")], axis=1)


def _best_scores(queries: Sequence[Parts], windows: Parts) -> NDArray[np.float32]:
    """Return the score of each of N queries with a key, (N,), upright or upside down."""
    blocks = [slice(begin, begin + _BLOCK) for begin in range(0, len(queries[0].even), _BLOCK)]
    turned = [np.concatenate([best_window(own, windows, some)[0] for some in blocks]) for own in queries]
    return np.asarray(np.maximum(*turned))


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


def _look_up(index: Cells, windows: Sequence[Parts], groups: Groups, keys: NDArray[np.int64]) -> NDArray[np.void]:
    """Return the best window for each query of another group that is nearest to one in its cell, as (P,) `_PAIR`."""
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
    found = found[np.lexsort((-found["score"], found["query"], found["key"]))]
    return found[np.unique((found["key"], found["query"]), axis=1, return_index=True)[1]]


def _best_of_others(
    products: NDArray[np.float32], of_rows: Groups, of_columns: Groups
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
    """Return the scores of some queries, the window numbers, and 2 if mirrored + 1 if inverted."""
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


# ---- alignment


def _align(query: Picture, key: Picture, look: Look, start: Matrix) -> tuple[Comparison, float, Matrix]:
    """Refine a map by enhanced correlation (Evangelidis and Psarakis, PAMI 30, 2008).

    Return the comparison by the better of both maps, the correlation of rough detail alone, and that map.
    """
    shown = flip(query, mirrored=look.mirrored, upside_down=look.upside_down)
    sign = -1 if look.inverted else 1
    halves = _halve(shown), _halve(key)
    coarse = [_detail(half, _COARSER * _LATTICE.cell_of(half)) for half in halves]
    small = _refine(coarse[0], sign * coarse[1], _between(start, _DOUBLE), _STEPS[0], 1)
    fixed, moving = (_detail(own, _FINER * _LATTICE.cell_of(own)) for own in (shown, key))
    moving = sign * moving
    matrix = _refine(fixed, moving, _between(small, np.linalg.inv(_DOUBLE)), _STEPS[1], 3)
    judged = [(_judge(fixed, moving, tried), tried) for tried in (start, matrix)]
    compared, matrix = max(judged, key=lambda one: one[0].correlation)
    rough = [_detail(half, _ROUGH * _LATTICE.cell_of(half)) for half in halves]
    return compared, _judge(rough[0], sign * rough[1], _between(matrix, _DOUBLE)).correlation, matrix


def _halve(picture: Picture) -> Picture:
    """Take the mean of every four pixels, dropping an odd last row or column."""
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
    if overlap < _LEAST_OVERLAP:
        return nothing
    one, other = fixed[seen], warp(moving, matrix, fixed.shape)[seen]
    one, other = one - one.mean(), other - other.mean()
    energy = float(np.sqrt((one @ one) * (other @ other)))
    return Comparison(float(one @ other) / energy, float("nan"), float(overlap)) if energy > 0 else nothing


def flip(picture: Picture, *, mirrored: bool, upside_down: bool) -> Picture:
    """Swap left and right, top and bottom, both, or neither."""
    return np.ascontiguousarray(picture[:: -1 if upside_down else 1, :: -1 if mirrored else 1])


def warp(picture: Picture, matrix: Matrix, shape: tuple[int, ...]) -> Picture:
    """Return the (H, W) picture that shows at (x, y) the point ``matrix @ (x, y, 1)`` of another, 0 outside it."""
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(picture, matrix, (shape[1], shape[0]), flags=flags))


def backwards(matrix: Matrix) -> Matrix:
    """Invert a map between two pictures."""
    return np.asarray(cv2.invertAffineTransform(matrix), np.float64)


def rotation(angle: float) -> NDArray[np.float64]:
    """Return the (2, 2) rotation by an angle in radians, from x towards y."""
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def _middle(picture: Picture) -> NDArray[np.float64]:
    return (np.array(picture.shape[::-1]) - 1) / 2
