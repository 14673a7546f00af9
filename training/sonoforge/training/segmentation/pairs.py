"""Pairs of an image and its label map, real or generated, and pictures of them: sheets of pairs, and of predictions."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch.nn.functional import interpolate

from sonoforge.runtime.atomic import write_bytes
from sonoforge.runtime.images.synthetic import cut_structures, png_bytes
from sonoforge.training.data.pixels import STRUCTURE_COLOURS, Pixels, encode_png, grid_picture
from sonoforge.training.data.selection import evenly_spaced

SMALLEST_PIECE = 0.1  # of the largest piece of its structure; smaller ones of a generated map are cleaned away

PICTURES = "pictures"
SHOWN = 8  # pairs of a sheet, in one row; their maps in the row below
_SIDE = 128  # pixels of an image of a sheet, at least
_OPACITY = 0.3


@dataclass(frozen=True, eq=False)
class Pairs:
    """Images with their label maps."""

    images: Pixels  # (N, S, S, C) uint8, C = 1 or 3
    maps: NDArray[np.uint8]  # (N, S, S) uint8: 0 is the background, k the k-th structure

    def __len__(self) -> int:
        """Return the number N of pairs."""
        return len(self.images)


def join(first: Pairs, second: Pairs) -> Pairs:
    """Return all pairs of both."""
    return Pairs(np.concatenate([first.images, second.images]), np.concatenate([first.maps, second.maps]))


def to_label_maps(levels: Pixels) -> NDArray[np.uint8]:
    """Turn the levels (N, S, S, K) of K structures, 0 to 255, into label maps (N, S, S); see `cut_structures`."""
    inside = cut_structures(levels) > 0
    return np.where(inside.any(-1), inside.argmax(-1) + 1, 0).astype(np.uint8)


def to_levels(maps: NDArray[np.uint8], structures: int) -> Pixels:
    """Turn label maps (N, S, S) into levels (N, S, S, K) of 0 and 255."""
    return np.where(maps[..., None] == np.arange(1, structures + 1), 255, 0).astype(np.uint8)


def to_side(pixels: Pixels, side: int) -> Pixels:
    """Resize images or levels (N, S, S, C) uint8 to another side, linearly and antialiased."""
    if pixels.shape[1] == side:
        return pixels
    resized = [
        interpolate(torch.from_numpy(own).permute(2, 0, 1)[None].float(), (side, side), mode="bilinear", antialias=True)
        for own in pixels
    ]
    return torch.cat(resized).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()


def clean_maps(maps: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Clear small pieces of generated label maps (N, S, S): those under a tenth of their structure's largest piece.

    Pieces hang together by their edges.  A structure is neither filled nor smoothed: that would make up anatomy.
    """
    cleaned = maps.copy()
    for own in cleaned:
        for label in np.unique(own[own > 0]):
            pieces, count = ndimage.label(own == label)
            sizes = np.bincount(pieces.ravel())[1:]
            small = 1 + np.flatnonzero(sizes < SMALLEST_PIECE * sizes.max())
            if count > 1 and len(small):
                own[np.isin(pieces, small)] = 0
    return cleaned


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
