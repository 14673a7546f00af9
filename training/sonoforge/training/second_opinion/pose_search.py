"""Look for the middle of every picture inside every other one, at every pose on a grid.

The near-duplicate search that shapes the folds cannot notice what it misses, so this one shares nothing with it: no
hash, no local features, no list of candidates that some cheaper comparison has made.  It is exhaustive.

A *query* is the central square of a picture, 0.6 of its shorter side wide, on 12 x 12 cells.  A *key* is the same
square anywhere in another picture, at 5 sizes and 5 angles: some 5000 windows.  Each becomes a vector: detail at the
scale of the cells, evened out by its local strength so that marks and borders weigh no more than tissue, whitened by
the covariance of the set's own queries, so that what all pictures share (layers, an outline) counts for little, and
scaled to length 1.  The score of a pair is the largest scalar product over all windows, of the query or its mirror
image, of either sign (an inverted copy).  Because either picture of a pair may be the query, sizes below 1 suffice.

Time grows with the square of the number of pictures, memory is 6 bytes a pair.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.float32]  # (H, W) grey in [0, 1]
Matrix = NDArray[np.float64]  # (2, 3): a point (x, y, 1) of the query to the point (x, y) of the key, in pixels

# Pictures this small gain nothing from OpenCV's own threads, which a forked process would wait for in vain.
cv2.setNumThreads(1)

SIDE = 128
"""Longest side of a picture in pixels."""

_CELLS = 12
_WINDOW = 0.6  # of the shorter side; smaller windows hold too little to tell pictures apart
# A copy enlarged up to 1.5 times is met within 5 % of its size and 2.5 degrees of its angle. At the border of a window
# that is 0.4 of a cell, as much as half a step of the positions; detail blurred by half a cell bears it.
_SIZES = (1.0, 0.91, 0.83, 0.75, 0.68)
_ANGLES = (-10, -5, 0, 5, 10)  # degrees
_REACH = 0.27  # of width and height: how far the middle of a window may lie from the middle of the picture
_DIMENSIONS = 64  # hold 96 % of the variance of BUSI's queries
_WHITENING = 0.7  # of the exponent of full whitening, which would raise the noise of the weakest directions
_FLAT = 0.15  # RMS of evened-out detail (1 where there is any) below which a window shows nothing
_BAR = 16  # grey levels, between the 5th and the 95th percentile of a line; noise of 4 spans 13
_FAINT = 0.004  # of full scale: one grey level, below which detail is noise


class Grid(NamedTuple):
    """Windows of one size and angle."""

    cell: float  # side of a cell in pixels
    angle: float  # radians
    across: int  # cells from the middle position to the outermost, in x
    down: int  # in y


class Found(NamedTuple):
    """The best window for each pair: rows are keys, columns queries."""

    scores: NDArray[np.float16]  # (N, N) in [0, 1]
    codes: NDArray[np.int32]  # (N, N): 4 x number of the window + 2 where mirrored + 1 where inverted


class Start(NamedTuple):
    """How a query lies in a key, as far as the grid tells."""

    mirrored: bool  # the query is to be mirrored first
    inverted: bool  # bright is dark
    matrix: Matrix


def shrink(picture: NDArray[np.uint8]) -> Picture:
    """Cut bars off a grey (H, W) uint8 picture and bring it to `SIDE` pixels along its longest side."""
    rows, columns = (_without_bars(lines) for lines in (picture, picture.T))
    inner = picture[rows, columns].astype(np.float32) / np.float32(255)
    height, width = inner.shape
    scale = SIDE / max(height, width)
    size = max(2, round(width * scale)), max(2, round(height * scale))
    shrunk: Picture = cv2.resize(inner, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)  # type: ignore[assignment]
    return shrunk


def _without_bars(lines: NDArray[np.uint8]) -> slice:
    """Return the lines between those at both ends that show one grey, but for noise; at least the middle third."""
    low, high = np.percentile(lines, (5, 95), axis=1)
    filled = np.flatnonzero(high - low > _BAR)
    if len(filled) == 0:
        return slice(0, len(lines))
    return slice(min(int(filled[0]), len(lines) // 3), max(int(filled[-1]) + 1, len(lines) - len(lines) // 3))


def detail(picture: Picture, cell: float) -> Picture:
    """Keep what is about as large as a cell (pixels), at the same strength everywhere."""
    band = cv2.GaussianBlur(picture, (0, 0), 0.5 * cell) - cv2.GaussianBlur(picture, (0, 0), 2 * cell)
    strength = np.sqrt(cv2.GaussianBlur(band * band, (0, 0), 3 * cell))
    evened: Picture = np.divide(band, strength + _FAINT, dtype=np.float32)
    return evened


def cell_of(picture: Picture, size: float = 1.0) -> float:
    """Return the side of a cell in pixels."""
    return _WINDOW * float(min(picture.shape)) * size / _CELLS


def search(pictures: Sequence[Picture], advance: Callable[[int], None] = lambda done: None) -> Found:
    """Score every pair of N pictures; ``advance`` hears how many keys are done."""
    count = len(pictures)
    mirrored = [mirror(picture) for picture in pictures]
    vectors = np.concatenate([_query(picture) for picture in (*pictures, *mirrored)])
    project = _projection(vectors)
    queries = project(vectors)
    found = Found(np.zeros((count, count), np.float16), np.zeros((count, count), np.int32))

    def score(key: int) -> None:
        products = queries @ project(_windows(pictures[key])).T
        best = np.zeros(count, np.float32)
        for turn, sign in ((0, 1), (0, -1), (1, 1), (1, -1)):
            own = products[turn * count : (turn + 1) * count]
            window = own.argmax(axis=1) if sign > 0 else own.argmin(axis=1)
            value = sign * own[np.arange(count), window]
            better = value > best
            best[better] = value[better]
            found.codes[key, better] = 4 * window[better] + 2 * turn + (sign < 0)
        found.scores[key] = best

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done, _ in enumerate(pool.map(score, range(count)), start=1):
            advance(done)
    return found


def mirror(picture: Picture) -> Picture:
    """Mirror a picture left to right."""
    return np.ascontiguousarray(picture[:, ::-1])


def start_of(code: int, query: Picture, key: Picture) -> Start:
    """Return how the query lies in the key by a code of `Found`."""
    window = code // 4
    for grid in _grids(key):
        columns = 2 * grid.across + 1
        number = columns * (2 * grid.down + 1)
        if window < number:
            row, column = divmod(window, columns)
            turn = _rotation(grid.angle)
            middle = _middle(key) + turn @ (grid.cell * np.array([column - grid.across, row - grid.down]))
            linear = turn * grid.cell / cell_of(query)
            matrix = np.column_stack((linear, middle - linear @ _middle(query)))
            return Start(bool(code & 2), bool(code & 1), matrix)
        window -= number
    raise ValueError(f"found window {code // 4}, the key has fewer")


def _grids(picture: Picture) -> list[Grid]:
    height, width = picture.shape
    grids = []
    for size in _SIZES:
        cell = cell_of(picture, size)
        # A window may stick out by 0.04 of the shorter side, less than a cell.
        room = [side - _WINDOW * min(height, width) * size for side in (width, height)]
        across, down = (
            max(0, int(min(_REACH * side, free / 2 + 0.04 * min(height, width)) / cell))
            for side, free in zip((width, height), room, strict=True)
        )
        grids += [Grid(cell, float(np.deg2rad(angle)), across, down) for angle in _ANGLES]
    return grids


def _query(picture: Picture) -> NDArray[np.float32]:
    """(1, 144) detail of the central window."""
    return _cut(detail(picture, cell_of(picture)), Grid(cell_of(picture), 0.0, 0, 0))


def _windows(picture: Picture) -> NDArray[np.float32]:
    """(K, 144) detail of all windows, in the order of `_grids`."""
    filtered = {cell_of(picture, size): detail(picture, cell_of(picture, size)) for size in _SIZES}
    return np.concatenate([_cut(filtered[grid.cell], grid) for grid in _grids(picture)])


def _cut(filtered: Picture, grid: Grid) -> NDArray[np.float32]:
    """Sample a turned lattice of cells and take every square of 12 x 12 of them."""
    columns, rows = 2 * grid.across + _CELLS, 2 * grid.down + _CELLS
    linear = _rotation(grid.angle) * grid.cell
    shift = _middle(filtered) - linear @ np.array([(columns - 1) / 2, (rows - 1) / 2])
    lattice = warp(filtered, np.column_stack((linear, shift)), (rows, columns))
    squares = np.lib.stride_tricks.sliding_window_view(lattice, (_CELLS, _CELLS))
    return squares.reshape(-1, _CELLS * _CELLS)


def warp(picture: Picture, matrix: Matrix, shape: tuple[int, ...]) -> Picture:
    """Return the (H, W) picture whose point (x, y) shows the point ``matrix @ (x, y, 1)`` of another, 0 outside it."""
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    warped: Picture = cv2.warpAffine(picture, matrix, (shape[1], shape[0]), flags=flags)  # type: ignore[assignment]
    return warped


def _projection(queries: NDArray[np.float32]) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """Return the function that whitens (K, 144) windows into (K, D) vectors of length 1, or 0 for flat windows."""
    centred = queries - queries.mean(axis=1, keepdims=True)
    values, axes = np.linalg.eigh(centred.T @ centred / len(centred))
    values, axes = values[::-1][:_DIMENSIONS], axes[:, ::-1][:, :_DIMENSIONS]
    basis = axes * np.maximum(values, values[0] * 1e-3) ** (-_WHITENING / 2)
    basis = (basis - basis.mean(axis=0)).astype(np.float32)  # leaves out the mean of each window

    def project(windows: NDArray[np.float32]) -> NDArray[np.float32]:
        vectors = windows @ basis
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        flat = np.einsum("ij,ij->i", windows, windows) < _FLAT**2 * _CELLS**2
        length[flat] = np.inf
        projected: NDArray[np.float32] = vectors / np.maximum(length, 1e-6)
        return projected

    return project


def _rotation(angle: float) -> NDArray[np.float64]:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def _middle(picture: Picture) -> NDArray[np.float64]:
    return (np.array(picture.shape[::-1]) - 1) / 2
