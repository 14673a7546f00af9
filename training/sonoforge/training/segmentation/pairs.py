"""Convert, clean, augment and draw pairs of an image and its label map, real or generated.

Augmentation is a random affine and elastic distortion of images with their maps, and a change of contrast.  The elastic
part moves the nodes of a coarse grid at random and the pixels between them smoothly (Simard, Steinkraus, Platt, ICDAR
2003, section 2, with a coarse grid instead of a Gaussian filter).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, interpolate

from sonoforge.runtime.atomic import write_bytes
from sonoforge.runtime.images.synthetic import cut_structures, png_bytes
from sonoforge.training.data.pixels import STRUCTURE_COLOURS, Pixels, encode_png, grid_picture
from sonoforge.training.data.selection import evenly_spaced

NODES = 6  # of the elastic grid, a side
SMALLEST_PIECE = 0.1  # of the largest piece of its structure; smaller ones in generated maps are removed

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
    levels = torch.from_numpy(pixels).permute(0, 3, 1, 2).float()
    resized = interpolate(levels, (side, side), mode="bilinear", antialias=True)
    return resized.round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()


def clean_maps(maps: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Remove small pieces of generated label maps (N, S, S): those under a tenth of their structure's largest piece.

    Pieces are connected by edges. Structures are not filled or smoothed, as that would invent anatomy.
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


# ---- augmentation


# The largest distortion of a pair; every amount is drawn uniformly up to it.
DEGREES = 20.0  # of rotation either way
SCALE = 0.15  # share that it grows or shrinks by
SHIFT = 0.08  # of the side, down and across
BEND = 0.03  # of the side: how far a node of the elastic grid moves, down and across
CONTRAST = 0.25  # share that contrast, brightness and gamma change by


def distort(images: Tensor, maps: Tensor, chance: torch.Generator) -> tuple[Tensor, Tensor]:
    """Distort each image (N, C, S, S) in [0, 1] with its label map (N, S, S), and change the image's contrast.

    The border is repeated outwards.  ``chance`` is on the CPU, so that every device draws the same.
    """
    grid = _draw_grid(len(images), images.shape[-1], chance).to(images.device)
    moved = grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    drawn = (2 * torch.rand(3, len(images), 1, 1, 1, generator=chance) - 1).to(images.device) * CONTRAST
    mean = moved.mean((1, 2, 3), keepdim=True)
    levels = (moved - mean) * (1 + drawn[0]) + mean * (1 + drawn[1])  # contrast about the mean, then brightness
    return levels.clamp(0, 1) ** (1 + drawn[2]), _move_maps(maps, grid)


def distort_maps(maps: Tensor, chance: torch.Generator) -> Tensor:
    """Distort label maps (N, S, S) int64 as `distort` does."""
    return _move_maps(maps, _draw_grid(len(maps), maps.shape[-1], chance).to(maps.device))


def _move_maps(maps: Tensor, grid: Tensor) -> Tensor:
    moved = grid_sample(maps[:, None].float(), grid, mode="nearest", padding_mode="border", align_corners=False)
    return moved[:, 0].round().long()


def _draw_grid(count: int, side: int, chance: torch.Generator) -> Tensor:
    """Draw the source of each pixel: (count, side, side, 2) in [-1, 1], across and down."""

    def draw(most: float, *shape: int) -> Tensor:
        return (2 * torch.rand(count, *shape, generator=chance) - 1) * most

    angle, zoom = torch.deg2rad(draw(DEGREES)), 1 + draw(SCALE)
    cosine, sine = angle.cos() / zoom, angle.sin() / zoom
    shift = draw(2 * SHIFT, 2)  # coordinates run from -1 to 1: two for a side
    matrix = torch.stack([cosine, -sine, shift[:, 0], sine, cosine, shift[:, 1]], 1).reshape(count, 2, 3)
    grid = affine_grid(matrix, [count, 1, side, side], align_corners=False)
    bent = interpolate(draw(2 * BEND, 2, NODES, NODES), (side, side), mode="bicubic", align_corners=True)
    return grid + bent.permute(0, 2, 3, 1)


# ---- pictures


def sheet_name(what: str) -> str:
    """Return the file of a sheet: a recipe's pairs, the real ones, or an arm's predictions."""
    return f"{what.replace(':', '_')}.png"


def draw_over(images: Pixels, maps: NDArray[np.uint8]) -> Pixels:
    """Colour the structures in images (N, S, S, C) uint8, their outlines fully and their insides lightly: RGB."""
    shown = np.repeat(images, 3, axis=3) if images.shape[3] == 1 else images.copy()
    for picture, own in zip(shown, maps, strict=True):
        for label in np.unique(own[own > 0]).tolist():
            inside = own == label
            outline = inside & ~ndimage.binary_erosion(inside)
            colour = np.array(STRUCTURE_COLOURS[(label - 1) % len(STRUCTURE_COLOURS)], np.float32)
            picture[inside] = (1 - _OPACITY) * picture[inside] + _OPACITY * colour
            picture[outline] = colour
    return shown


def write_sheet(path: Path, images: Pixels, *rows: NDArray[np.uint8], synthetic: bool = False) -> None:
    """Write a row of images (N, S, S, C) with each of the label maps (N, S, S); mark a file of generated ones."""
    chosen = evenly_spaced(len(images), SHOWN)
    shown = [draw_over(enlarged(images[chosen]), enlarged(maps[chosen])) for maps in rows]
    picture = grid_picture(np.concatenate(shown), len(chosen))
    write_bytes(path, png_bytes(picture, {"synthetic": True}) if synthetic else encode_png(picture))


def enlarged(arrays: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Repeat the pixels of images or maps (N, S, S, ...) until a side has `_SIDE`, so that they look sharp."""
    times = -(-_SIDE // arrays.shape[1])
    return arrays.repeat(times, axis=1).repeat(times, axis=2)
