"""Pictures of images with their structures drawn over them: sheets of pairs, and of predictions."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from sonoforge.runtime.atomic import write_bytes
from sonoforge.runtime.images.synthetic import png_bytes
from sonoforge.training.data.pixels import STRUCTURE_COLOURS, Pixels, encode_png, grid_picture
from sonoforge.training.data.selection import evenly_spaced
from sonoforge.training.segmentation.pairs import Pairs

PICTURES = "pictures"
SHOWN = 8  # pairs of a sheet, in one row; their maps in the row below
_SIDE = 128  # pixels of an image of a sheet, at least
_OPACITY = 0.3


def sheet_name(what: str) -> str:
    """Return the file of a sheet: of a recipe's pairs, of the real ones, or of an arm's predictions."""
    return f"{what.replace(':', '_')}.png"


def draw_over(images: Pixels, maps: NDArray[np.uint8]) -> Pixels:
    """Colour the structures in images, their outlines fully and their insides a little.

    Args:
        images: (N, S, S, C) uint8, C = 1 or 3.
        maps: (N, S, S) uint8 label maps.

    Returns:
        (N, S, S, 3) uint8.
    """
    shown = np.repeat(images, 3, axis=3) if images.shape[3] == 1 else images.copy()
    for picture, own in zip(shown, maps, strict=True):
        for label in np.unique(own[own > 0]).tolist():
            inside = own == label
            outline = inside & ~ndimage.binary_erosion(inside)
            colour = np.array(STRUCTURE_COLOURS[(label - 1) % len(STRUCTURE_COLOURS)], np.float32)
            picture[inside] = (1 - _OPACITY) * picture[inside] + _OPACITY * colour
            picture[outline] = colour
    return shown


def write_sheet(path: Path, pairs: Pairs, *, synthetic: bool) -> None:
    """Write a row of images above a row of the same with their structures; a file of generated ones says so."""
    chosen = evenly_spaced(len(pairs), SHOWN)
    images, maps = enlarged(pairs.images[chosen]), enlarged(pairs.maps[chosen])
    rows = grid_picture(np.concatenate([draw_over(images, np.zeros_like(maps)), draw_over(images, maps)]), len(chosen))
    write_bytes(path, png_bytes(rows, {"synthetic": True}) if synthetic else encode_png(rows))


def enlarged(arrays: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Repeat the pixels of images or maps (N, S, S, ...) until a side has `_SIDE`, to be shown sharply."""
    times = -(-_SIDE // arrays.shape[1])
    return arrays.repeat(times, axis=1).repeat(times, axis=2)
