"""Measure how realistic and how varied images are, by four figures from balls that reach to the nearest neighbours.

*Precision* is the share of generated images within the ball of any real one; *recall* the share of real images within
the ball of any generated one (Kynkaanniemi et al., "Improved Precision and Recall Metric for Assessing Generative
Models", NeurIPS 2019, section 2, k = 3).  *Density* is the mean number of real images' balls around a generated image,
by k; *coverage* the share of real images whose ball holds a generated one (Naeem et al., "Reliable Fidelity and
Diversity Metrics for Generative Models", ICML 2020, section 3, k = 5).  A ball reaches as far as its image's k-th
neighbour in its own set, rim included.  All of them depend on the number of images: compare them with real against
real.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.distances.fid_kid import Embeddings, check_pair
from sonoforge.runtime.errors import SonoforgeError

_BLOCK_ENTRIES = 4_000_000  # distances held at a time: 32 MB
_ROUNDING = 1e-12  # an image on the rim of a ball is inside


def precision_recall(generated: NDArray[Any], real: NDArray[Any], neighbours: int = 3) -> tuple[float, float]:
    """Measure improved precision and recall, each 0 to 1, of (N, D) and (M, D) (Kynkaanniemi 2019, equations 1, 2)."""
    x, y = _centred("precision and recall", generated, real, neighbours)
    around_x, around_y = (_squared_radii(rows, neighbours) for rows in (x, y))
    in_real = np.zeros(len(x), bool)
    in_generated = np.zeros(len(y), bool)
    for block, squared in _blocks(x, y):
        in_real[block] = (squared <= around_y).any(1)
        in_generated |= (squared <= around_x[block, None]).any(0)
    return float(in_real.mean()), float(in_generated.mean())


def density_coverage(generated: NDArray[Any], real: NDArray[Any], neighbours: int = 5) -> tuple[float, float]:
    """Measure density (0 or more, 1 for equal distributions) and coverage (0 to 1) of (N, D), (M, D) (Naeem 2020)."""
    x, y = _centred("density and coverage", generated, real, neighbours)
    around_y = _squared_radii(y, neighbours)
    inside = 0
    covered = np.zeros(len(y), bool)
    for _, squared in _blocks(x, y):
        within = squared <= around_y
        inside += int(np.count_nonzero(within))
        covered |= within.any(0)
    return inside / (neighbours * len(x)), float(covered.mean())


def _squared_radii(rows: Embeddings, neighbours: int) -> NDArray[np.float64]:
    """Return the squared distance (N,) of each row to its k-th neighbour among the others."""
    radii = np.empty(len(rows))
    for block, squared in _blocks(rows, rows):
        own = np.arange(block.start, block.stop)
        squared[own - block.start, own] = np.inf
        chosen = np.argpartition(squared, neighbours - 1, axis=1)[:, :neighbours]
        for row, candidates in enumerate(chosen, block.start):
            # From the difference itself: with squares and products, rounding drowns the distance of near-duplicates.
            radii[row] = np.linalg.norm(rows[candidates] - rows[row], axis=1).max()
    return np.square(radii)


def _blocks(x: Embeddings, y: Embeddings) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """Yield the squared distances (N, M) some rows at a time: which rows, and (rows, M)."""
    # |x - y|^2 = |x|^2 + |y|^2 - 2 x.y: one matrix product, no (N, M, D) differences.
    x_squares, y_squares = ((1 - _ROUNDING) * np.square(rows).sum(1) for rows in (x, y))
    step = max(1, _BLOCK_ENTRIES // len(y))
    for start in range(0, len(x), step):
        block = slice(start, min(start + step, len(x)))
        squared: NDArray[np.float64] = x[block] @ y.T
        squared *= -2.0
        squared += x_squares[block, None]
        squared += y_squares
        yield block, squared


def _centred(
    metric: str, generated: NDArray[Any], real: NDArray[Any], neighbours: int
) -> tuple[Embeddings, Embeddings]:
    """Check both sets and centre them on the real images' mean, where rounding errors are smallest."""
    x, y = check_pair(metric, generated, real)
    if neighbours < 1:
        raise ValueError(f"{metric}: {neighbours} neighbours are too few; give at least 1")
    others = min(len(x), len(y)) - 1
    if neighbours > others:
        raise SonoforgeError(
            f"{metric}: the smaller set has {others + 1} images, too few for {neighbours} neighbours; give more images"
        )
    centre = y.mean(0)
    return x - centre, y - centre
