"""Show where in the scan a class's evidence is: the class-activation map, at the scan's size and as two numbers.

Source: Zhou et al., Learning deep features for discriminative localization, CVPR 2016, section 2: for a network that
ends in a mean over positions and one linear layer, the map of a class is the layer's weights applied at each position,
and its mean is the class's logit minus the bias. It is exact: nothing is estimated by gradients or trials.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

BRIGHTEST = 0.1
"""Share of the area that counts as a map's brightest part."""

_GRID = 100  # points a side on which the brightest tenth is found; for a map of 7 x 7, more give the same share
_BRIGHTEST_POINTS = round(BRIGHTEST * _GRID**2)

# Rows of a picture at a time: larger products wake OpenBLAS's other threads, which then spin for some 20 ms.
_ROWS = 32


class Peak(NamedTuple):
    """The strongest place of a map."""

    x: int  # column of the scan's pixel at the centre of the strongest cell, from 0 at the left
    y: int  # row of that pixel, from 0 at the top
    value: float  # the map's value there, in units of the logit


def at_size(values: NDArray[np.float32], width: int, height: int) -> NDArray[np.float32]:
    """Enlarge a map (h, w) to a picture's size in pixels, (height, width).

    The picture was squeezed to the network's square, so each cell covers the same share of its width and height.
    Values are bilinear between the centres of cells, and constant outside the outermost centres.
    """
    rows, columns = values.shape
    return np.asarray(_bilinear(rows, height) @ values @ _bilinear(columns, width).T, np.float32)


def peak(values: NDArray[np.float32], width: int, height: int) -> Peak:
    """Find the strongest cell of a map (h, w) laid over a picture; ties go to the first in reading order."""
    rows, columns = values.shape
    row, column = divmod(int(values.argmax()), columns)
    return Peak((2 * column + 1) * width // (2 * columns), (2 * row + 1) * height // (2 * rows), float(values.max()))


def share_in_brightest(values: NDArray[np.float32]) -> float | None:
    """Return the share of a map's positive mass inside the brightest tenth of the area.

    Returns:
        0.1 for a constant map, up to 1.0 if it is positive nowhere else; None if it is never positive.
    """
    ordered = _in_order(values)
    positive = np.maximum(ordered, 0, dtype=np.float64)
    total = float(positive.sum())
    return float(positive[-_BRIGHTEST_POINTS:].sum()) / total if total > 0 else None


def limit_of_brightest(values: NDArray[np.float32]) -> float:
    """Return the lowest value in the map's brightest tenth; it may be below 0."""
    return float(_in_order(values)[-_BRIGHTEST_POINTS])


def brightest_area(values: NDArray[np.float32], width: int, height: int) -> NDArray[np.bool_]:
    """Return which pixels of a picture are under the brightest tenth of its map: (height, width)."""
    rows, columns = values.shape
    tall, across = _bilinear(rows, height) @ values, _bilinear(columns, width).T
    limit = limit_of_brightest(values)
    return np.concatenate([tall[top : top + _ROWS] @ across >= limit for top in range(0, height, _ROWS)])


def _in_order(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the map's values on the grid, partitioned: the brightest tenth last, its smallest value first."""
    return np.partition(at_size(values, _GRID, _GRID).ravel(), -_BRIGHTEST_POINTS)


@functools.lru_cache(maxsize=8)
def _bilinear(cells: int, length: int) -> NDArray[np.float32]:
    """Return the weight of each cell in each pixel of one axis, (length, cells)."""
    centres = np.clip((np.arange(length) + 0.5) * cells / length - 0.5, 0, cells - 1)
    distance = np.abs(centres[:, None] - np.arange(cells))
    return np.asarray(np.maximum(0, 1 - distance).astype(np.float32))
