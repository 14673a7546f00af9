"""Check whether two aligned pictures show the same thing: correlate their fine detail where they overlap.

Scans of two patients share smooth structure; two pictures of one scan share more. Each picture's slow variation is
therefore removed and the rest divided by its local strength (local contrast normalisation; Jarrett et al., "What is the
best multi-stage architecture for object recognition?", ICCV 2009, section 2); constant areas do not count. A copy that
was bent, solarised, coloured or set into another scan agrees only in parts: small windows are then searched one by one
near their expected places, and count if their neighbours moved with them.
"""

import itertools
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import signal

from sonoforge.training.copies.pictures import Picture

OVERLAP_SIDE = 96  # longest side of the overlap while it is compared, pixels
SMALLEST_OVERLAP = 0.12  # of the smaller picture's area; a quarter of a picture overlaps all of its own area
_SMOOTH = 3.0  # pixels of the overlap; coarser detail is what unrelated eyes and breasts share
_CONSTANT = 1.0  # grey levels of local spread below which a place is padding
_FLAT = 2.0  # grey levels of local strength at which detail counts half
_PLAIN = 25.0  # score of the whole that makes windows unnecessary: no limit is higher
_WINDOW, _STEP, _REACH = 15, 8, 6  # pixels: side of a window, distance between two, search radius
_ALIKE = 0.6  # correlation from which a window is found; in unrelated scans, the best in reach is about 0.4
_MOVED_ALIKE = 2  # pixels between the moves of neighbours under a smooth warp
_KNOWN = 0.7  # of a window
_NEIGHBOURS = 3  # of eight, which must be found as well
# Score for each share of the smaller picture, from `SMALLEST_OVERLAP` on.  Unrelated scans of BUSI and BrEaST stay
# below 0.09; the highest of BUS-BRA's pairs, which share burned-in marks, has 0.119.
_SCORE_OF_SHARE = 80.0

Plane = NDArray[np.float32]


class Comparison(NamedTuple):
    """How alike two aligned pictures are."""

    correlation: float  # -1 to 1, of the fine detail
    # The correlation in standard errors of what two unrelated pictures of this texture and overlap would give, or
    # 80 times the share of the smaller picture whose windows agree, if that is more and at least `SMALLEST_OVERLAP`.
    score: float
    overlap: float  # area of the overlap, as a share of the smaller picture


def compare_aligned(first: Picture, second: Picture, matrix: NDArray[np.float64]) -> Comparison:
    """Correlate the fine detail of two fitted pictures (H, W) uint8 in their overlap.

    The second is already mirrored and inverted as needed; the matrix (2, 3) takes a point of the first to it.
    """
    views = _cut_overlap(first, second, matrix)
    if views is None:
        return Comparison(0.0, 0.0, 0.0)
    one, two, known, overlap = views
    if overlap < SMALLEST_OVERLAP:
        return Comparison(0.0, 0.0, overlap)
    a, b = fine_detail(one, known), fine_detail(two, known)
    energy = float(np.sqrt((a * a).sum() * (b * b).sum()))
    if energy < 1e-3 * a.size:
        return Comparison(0.0, 0.0, overlap)
    correlation = min(max(float((a * b).sum()) / energy, -0.9999), 0.9999)
    score = float(np.arctanh(correlation)) / _standard_error(a, b, known)
    if score < _PLAIN:
        share = overlap * _share_alike(a, b, known)
        score = max(score, _SCORE_OF_SHARE * share) if share >= SMALLEST_OVERLAP else score
    return Comparison(correlation, score, overlap)


def _share_alike(a: Plane, b: Plane, known: Plane) -> float:
    """Return the share of the known area whose windows are found in the other picture, moved as their neighbours."""
    rows, columns = (max(0, (side - _WINDOW) // _STEP + 1) for side in a.shape)
    around = cv2.copyMakeBorder(b, _REACH, _REACH, _REACH, _REACH, cv2.BORDER_CONSTANT)
    shown = cv2.blur(known, (_WINDOW, _WINDOW))[_WINDOW // 2 :: _STEP, _WINDOW // 2 :: _STEP][:rows, :columns] >= _KNOWN
    found, moved = np.zeros((rows + 2, columns + 2), bool), np.zeros((rows + 2, columns + 2, 2), np.int64)
    # A window that counts, or one of its three neighbours, lies in an even row: if these hold none, stop early.
    for odd in range(2):
        for i, j in np.argwhere(shown[odd::2]) * (2, 1) + (odd, 0):
            y, x = _STEP * i, _STEP * j
            area = around[y : y + _WINDOW + 2 * _REACH, x : x + _WINDOW + 2 * _REACH]
            alike = np.abs(cv2.matchTemplate(area, a[y : y + _WINDOW, x : x + _WINDOW], cv2.TM_CCOEFF_NORMED))
            found[i + 1, j + 1] = alike.max() > _ALIKE
            moved[i + 1, j + 1] = np.divmod(alike.argmax(), alike.shape[1])
        if not found.any():
            return 0.0
    inner = moved[1:-1, 1:-1]
    agreeing = np.zeros((rows, columns), int)
    for down, right in itertools.product(range(3), repeat=2):
        part = slice(down, down + rows), slice(right, right + columns)
        agreeing += found[part] & (np.abs(moved[part] - inner).max(axis=2) <= _MOVED_ALIKE)
    alike = found[1:-1, 1:-1] & (agreeing > _NEIGHBOURS)  # each agrees with itself
    return float(alike.sum()) * _STEP**2 / max(float(known.sum()), 1.0)


def _standard_error(a: Plane, b: Plane, known: Plane) -> float:
    """Return the standard error of the correlation of two unrelated fields with these autocorrelations.

    Bartlett, "Some aspects of the time-correlation problem in regard to tests of significance", JRSS 98(3), 1935: the
    variance is the sum over all lags of the product of the two autocorrelations, divided by the number of pixels.
    Layers across a whole picture or a small overlap make it large.
    """
    # Over all lags, the product of both autocorrelations and the square of the cross-correlation have one sum.
    lags = np.square(signal.correlate(a, b, method="fft"), dtype=np.float64).sum() / ((a * a).sum() * (b * b).sum())
    return float(np.sqrt(lags / max(float(known.sum()), 1.0)))


def _cut_overlap(
    first: Picture, second: Picture, matrix: NDArray[np.float64]
) -> tuple[Plane, Plane, Plane, float] | None:
    """Cut out the overlap of two fitted pictures in the first one's frame; None if it is a sliver.

    Return grey levels (h, w) of both, 1 where both are known (else 0), and the share of the smaller picture.
    """
    height, width = first.shape
    rows, columns = second.shape
    back = cv2.invertAffineTransform(matrix)
    corners = np.array([[0, 0], [columns, 0], [columns, rows], [0, rows]]) - 0.5
    seen = corners @ back[:, :2].T + back[:, 2]
    low = np.maximum(seen.min(axis=0), -0.5)
    extent = np.minimum(seen.max(axis=0), (width - 0.5, height - 0.5)) - low
    if (extent < 8).any():
        return None
    size = np.maximum(8, np.round(extent * OVERLAP_SIDE / extent.max())).astype(int)
    step = extent / size
    # Pixel (i, j) of the view has its centre at low + (i + 1/2, j + 1/2) * step of the first picture.
    view = np.array([[step[0], 0, low[0] + step[0] / 2], [0, step[1], low[1] + step[1] / 2], [0, 0, 1]])
    onward = np.vstack([matrix, [0, 0, 1]]) @ view
    target = int(size[0]), int(size[1])
    one, two = _sample(first, view[:2], target), _sample(second, onward[:2], target)
    known = _sample(np.full(second.shape, 255, np.uint8), onward[:2], target) > 254
    known &= ~(padding(one) | padding(two))
    area = float(extent.prod()) * float(known.mean())
    overlap = area / min(height * width, rows * columns / abs(np.linalg.det(matrix[:, :2])))
    return one, two, known.astype(np.float32), overlap


def padding(view: Plane) -> NDArray[np.bool_]:
    """Find where an (h, w) view is constant: bars, borders and blank background, with their edges."""
    mean = cv2.blur(view, (5, 5))
    variance = cv2.blur(view * view, (5, 5)) - mean * mean
    flat = (variance < _CONSTANT**2).astype(np.uint8)
    return cv2.dilate(flat, np.ones((7, 7), np.uint8)).astype(bool)


def _sample(picture: Picture, matrix: NDArray[np.float64], size: tuple[int, int]) -> Plane:
    """Read a picture at the places matrix @ (x, y, 1), smoothed first so that fine detail does not alias."""
    step = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    smooth = cv2.GaussianBlur(picture, (0, 0), 0.5 * np.sqrt(step * step - 1) + 1e-3) if step > 1 else picture
    read = cv2.warpAffine(smooth, matrix, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    return np.asarray(read, np.float32)


def fine_detail(view: Plane, known: Plane) -> Plane:
    """Remove slow variation and divide the rest by its local strength: (h, w) float32, about -2 to 2, mean 0.

    Args:
        view: (h, w) float32 grey levels.
        known: (h, w) 1 where the view counts, else 0; the detail is 0 there.
    """
    mass: Plane = _blur(known) + np.float32(1e-6)
    detail: Plane = (view - _blur(view * known) / mass) * known
    normal: Plane = detail / (np.sqrt(_blur(detail * detail) / mass) + _FLAT)
    return np.asarray((normal - normal.sum() / max(float(known.sum()), 1.0)) * known)


def _blur(plane: Plane) -> Plane:
    return np.asarray(cv2.GaussianBlur(plane, (0, 0), _SMOOTH, borderType=cv2.BORDER_CONSTANT), np.float32)
