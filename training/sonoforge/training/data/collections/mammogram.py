"""Prepare mammograms for a network: find the breast, spread the grey levels, cut out regions.

All pictures made here are square, as the network's input is.  They are cut rather than squeezed, which would change the
shape of lesions; `squeezed_picture` reproduces studies that resized whole films.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.data.collections.importing import Picture

Film = NDArray[Any]  # (H, W) of any integer type, bright where the breast is dense

LEAST_SIDE = 64  # pixels; a smaller cut shows a lesion without its surroundings
_SEARCH_SIDE = 256  # pixels of the longer side during the search for the breast: letters and scratches vanish
# Shares of the breast's pixels below and above the window.  The upper one is small because calcifications, the
# brightest spots, cover a few hundred of ten million pixels; it is not zero because dust on the film saturates.
_BELOW, _ABOVE = 1e-3, 1e-4
_SPARE = 0.02  # of the breast's longer side, left around it: the skin's dim edge


class Box(NamedTuple):
    """Rows ``top`` to ``bottom`` and columns ``left`` to ``right``, the latter of each excluded."""

    top: int
    bottom: int
    left: int
    right: int

    def cut(self, film: Film) -> Film:
        """Return the part inside, (bottom - top, right - left), with 0 beyond the film."""
        height, width = film.shape
        inside = film[max(self.top, 0) : min(self.bottom, height), max(self.left, 0) : min(self.right, width)]
        before = (max(-self.top, 0), max(-self.left, 0))
        after = (max(self.bottom - height, 0), max(self.right - width, 0))
        return np.pad(inside, tuple(zip(before, after, strict=True)))


def find_breast(film: Film) -> NDArray[np.bool_]:
    """Separate the breast of a film (H, W), bright on dark, from the background, labels and the film's edges.

    The largest connected region above half of Otsu's threshold ("A threshold selection method from gray-level
    histograms", IEEE SMC 9, 1979), after an opening that cuts off thin bridges.  Otsu's own value separates dense
    tissue from fat; half of it follows the skin.

    Returns:
        (h, w) bool, the film reduced to 256 pixels on its longer side; all False where nothing stands out.
    """
    from scipy import ndimage  # noqa: PLC0415 - other readers need only the squares

    height, width = film.shape
    scale = min(1.0, _SEARCH_SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = np.asarray(Image.fromarray(film.astype(np.float32)).resize(size, Image.Resampling.BOX))
    if small.min() == small.max():
        return np.zeros(small.shape, bool)
    bright = small > small.min() + 0.5 * (_otsu(small) - small.min())
    opened = ndimage.binary_opening(bright, np.ones((3, 3), bool), iterations=2)
    labels, count = ndimage.label(opened)
    if not count:
        return np.zeros(small.shape, bool)
    areas = ndimage.sum_labels(opened, labels, np.arange(1, count + 1))
    breast: NDArray[np.bool_] = labels == 1 + int(np.argmax(areas))
    return breast


def _otsu(values: NDArray[np.float32]) -> float:
    """Return the level that splits the values into two classes with the largest variance between them."""
    counts, edges = np.histogram(values, 256)
    middles = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)[:-1]
    sums = np.cumsum(counts * middles)
    above = counts.sum() - below
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums[:-1] / below - (sums[-1] - sums[:-1]) / above) ** 2
    return float(edges[1 + int(np.argmax(np.nan_to_num(between)))])


def frame_breast(breast: NDArray[np.bool_], shape: tuple[int, ...]) -> tuple[Box, Box]:
    """Return the box around the breast, and the square around that box, the chest wall at its edge.

    Where the breast is narrower than tall, the square extends beyond the box on the side away from the chest wall,
    which is where the breast is tallest; where it is wider, equally above and below.
    """
    exact = _bounds(breast, shape)
    spare = round(_SPARE * max(exact.bottom - exact.top, exact.right - exact.left))
    box = Box(
        max(exact.top - spare, 0),
        min(exact.bottom + spare, shape[0]),
        max(exact.left - spare, 0),
        min(exact.right + spare, shape[1]),
    )
    side = max(box.bottom - box.top, box.right - box.left)
    columns = np.flatnonzero(breast.any(axis=0))
    wall_left = breast[:, columns[0]].sum() >= breast[:, columns[-1]].sum()
    top = box.top - (side - (box.bottom - box.top)) // 2
    left = box.left if wall_left else box.right - side
    return box, Box(top, top + side, left, left + side)


def pad_to(square: Box, box: Box, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Surround the pixels of a box with black, up to the square, which keeps out labels beside the breast."""
    rows = (box.top - square.top, square.bottom - box.bottom)
    return np.pad(pixels, (rows, (box.left - square.left, square.right - box.right)))


def _bounds(region: NDArray[np.bool_], shape: tuple[int, ...]) -> Box:
    """Return the box around a region in pixels of the film, of which the region may be a reduced copy."""
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    down, across = shape[0] / region.shape[0], shape[1] / region.shape[1]
    return Box(
        int(rows[0] * down), round((rows[-1] + 1) * down), int(columns[0] * across), round((columns[-1] + 1) * across)
    )


def lesion_square(lesion: NDArray[np.bool_], margin: float) -> Box:
    """Return the square around a lesion, ``margin`` times its longer side, inside the film where it fits."""
    box = _bounds(lesion, lesion.shape)
    side = max(LEAST_SIDE, round(margin * max(box.bottom - box.top, box.right - box.left)))

    def place(start: int, length: int) -> int:
        """Move an interval into 0..length; one that is too long is centred."""
        return (length - side) // 2 if side > length else min(max(start, 0), length - side)

    top = place((box.top + box.bottom - side) // 2, lesion.shape[0])
    left = place((box.left + box.right - side) // 2, lesion.shape[1])
    return Box(top, top + side, left, left + side)


def grey_window(film: Film, breast: NDArray[np.bool_]) -> tuple[float, float]:
    """Return the lowest and the highest level of the breast in a film (H, W), ignoring dust and dirt.

    Raises:
        SonoforgeError: All pixels of the breast are equal.
    """
    height, width = film.shape
    rows = np.arange(height) * breast.shape[0] // height
    columns = np.arange(width) * breast.shape[1] // width
    levels = film[breast[rows[:, None], columns]]
    low, high = np.quantile(levels, (_BELOW, 1 - _ABOVE))
    if not low < high:
        raise SonoforgeError(f"the picture has the single grey level {low:g}, so it is not a mammogram; leave it out")
    return float(low), float(high)


def apply_window(film: Film, window: tuple[float, float]) -> NDArray[np.uint8]:
    """Map the window linearly to 0..255, clipping levels outside."""
    low, high = window
    scaled = (film.astype(np.float32) - np.float32(low)) * np.float32(255 / (high - low))
    pixels: NDArray[np.uint8] = np.rint(scaled.clip(0, 255)).astype(np.uint8)
    return pixels


def square_picture(pixels: NDArray[np.uint8], masks: Sequence[NDArray[np.bool_]], longest: int) -> Picture:
    """Scale a square picture and its masks down to at most ``longest`` pixels a side; smaller ones stay unchanged."""
    return squeezed_picture(pixels, masks, min(len(pixels), longest))


def squeezed_picture(pixels: NDArray[np.uint8], masks: Sequence[NDArray[np.bool_]], side: int) -> Picture:
    """Scale a picture (H, W) and its masks to a square of ``side`` pixels, ignoring the aspect ratio.

    Levels are averaged over the area of each new pixel; a mask pixel is inside from half of its area on.
    """

    def squeeze(levels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return np.asarray(Image.fromarray(levels).resize((side, side), Image.Resampling.BOX))

    return Picture(squeeze(pixels), tuple(squeeze(mask.astype(np.uint8) * np.uint8(255)) >= 128 for mask in masks))
