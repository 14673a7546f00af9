"""A zoomed second pass: where a network's own outline shows a lesion, the same network sees that part enlarged.

Both passes are one network with fixed shapes, so that every format and device can run it: a part is cut, mirrored and
resized by two matrix products, with the weights of an antialiased triangle filter.  Mirroring costs nothing and makes
the second pass differ more from the first, as a mirror image beside each pass would.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sonoforge.models import OUTLINE_BLOCK

_OUTLINE_WIDTH = 96  # channels of the map that block `OUTLINE_BLOCK` reads

_SMALLEST = 0.35  # side of a window, as a share of the image's
_MARGIN = 1.5  # side of a window, of the lesion's
_SURE, _UNSURE = 0.4, 0.2  # largest share of a cell: from the first on the window is the lesion's, below the second all


class OutlineHead(nn.Module):
    """Logits (B, 1, S/16, S/16) of how much of each cell is lesion, from the map (B, 96, S/16, S/16)."""

    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.Conv2d(_OUTLINE_WIDTH, 1, 1)

    def forward(self, maps: Tensor) -> Tensor:
        """See `OutlineHead`."""
        logits: Tensor = self.cells(maps)
        return logits


class Passes(NamedTuple):
    """Results of both passes."""

    first: Tensor  # (N, 1280, s, s) its last maps of the whole image
    second: Tensor  # (N, 1280, s, s) of the window's mirror image
    window: Tensor  # (N, 4) left, top, right, bottom, as shares of the image's sides

    @property
    def embedding(self) -> Tensor:
        """The mean over both passes and all places, (N, 1280)."""
        return (self.first.mean((2, 3)) + self.second.mean((2, 3))) / 2


def run_twice(blocks: Sequence[Any], outline: OutlineHead, images: Tensor, side: int) -> Passes:
    """Run a network on images as a whole and on the mirror image of the part of each where it sees a lesion.

    Args:
        blocks: MobileNetV2's 19 blocks.
        outline: Reads the map before block `OUTLINE_BLOCK`.
        images: (N, 3, S, S), normalised.
        side: Side of the network's input in each pass, in pixels.
    """

    def run(maps: Tensor, start: int, end: int) -> Tensor:
        for block in blocks[start:end]:
            maps = block(maps)
        return maps

    middle = run(resample(images, _everything(images), side), 0, OUTLINE_BLOCK)
    window = zoom_box(outline(middle))
    close = resample(images, window, side, mirrored=True)
    return Passes(run(middle, OUTLINE_BLOCK, len(blocks)), run(close, 0, len(blocks)), window)


def resample(images: Tensor, boxes: Tensor, side: int, *, mirrored: bool = False) -> Tensor:
    """Cut a window out of each image and resize it to a square, as Pillow's bilinear filter does.

    Args:
        images: (N, C, H, W).
        boxes: (N, 4) left, top, right, bottom, as shares of the image's sides.
        side: Of the result, in pixels.
        mirrored: Whether left and right of the result are exchanged.

    Returns:
        (N, C, side, side).
    """
    down = _triangles(boxes[:, 1], boxes[:, 3], images.shape[2], _middles(side, boxes))
    places = _middles(side, boxes, mirrored=mirrored)
    across = _triangles(boxes[:, 0], boxes[:, 2], images.shape[3], places)
    return down[:, None] @ images @ across[:, None].transpose(2, 3)


def _triangles(start: Tensor, end: Tensor, inputs: int, places: Tensor) -> Tensor:
    """Return the weights (N, outputs, inputs) of each input pixel in each output pixel, whose sums are 1.

    Boxes go from ``start`` to ``end`` (N,), as shares of the images' side of so many pixels, and ``places`` (outputs,)
    are the middles of the output pixels, as shares of the boxes.
    """
    step = (end - start) * (inputs / len(places))
    middles = start[:, None] * inputs + step[:, None] * (places * len(places))
    distance = _middles(inputs, start) * inputs - middles[:, :, None]
    weights = torch.relu(1 - distance.abs() / step.clamp_min(1)[:, None, None])
    return weights / weights.sum(2, keepdim=True)


def zoom_box(outline: Tensor) -> Tensor:
    """Return the window around the lesion that an outline shows; everything where it shows none.

    The lesion's middle and extent along each side are those of a uniform distribution with the mean and the variance of
    the outline; a window has `_MARGIN` times its extent.  All of it is continuous, so that formats that round
    differently still see nearly the same.

    Args:
        outline: Logits (N, 1, h, w), see `OutlineHead`.

    Returns:
        (N, 4) left, top, right, bottom, between 0 and 1.
    """
    shares = outline[:, 0].sigmoid()
    peak = shares.amax((1, 2))
    cells = torch.relu(shares - peak[:, None, None] / 2)
    found = ((peak - _UNSURE) / (_SURE - _UNSURE)).clamp(0, 1)
    spans = [_span(cells.sum(axis), found) for axis in (1, 2)]
    (left, right), (top, bottom) = spans
    return torch.stack([left, top, right, bottom], dim=1)


def _span(cells: Tensor, found: Tensor) -> tuple[Tensor, Tensor]:
    """Return start and end (N,) of a window along a side, from the lesion's share (N, cells) of each of its cells."""
    count = cells.shape[1]
    weights = cells / cells.sum(1, keepdim=True)
    places = _middles(count, cells)
    mean = (weights * places).sum(1)
    variance = (weights * (places - mean[:, None]).square()).sum(1) + 1 / (12 * count**2)
    half = (_MARGIN * (3 * variance).sqrt()).clamp(_SMALLEST / 2, 0.5)
    half = found * half + (1 - found) * 0.5
    middle = torch.minimum(torch.maximum(found * mean + (1 - found) * 0.5, half), 1 - half)
    return middle - half, middle + half


def enlarge_maps(maps: Tensor, side: int) -> Tensor:
    """Enlarge maps (N, C, s, s) to a multiple of their side by bilinear interpolation, which keeps their means."""
    return resample(maps, _everything(maps), side)


def place_maps(maps: Tensor, boxes: Tensor, side: int) -> Tensor:
    """Lay the maps of mirrored boxes over the images that they were cut from, so that their means stay the same.

    Args:
        maps: (N, C, s, s), of boxes that were seen mirrored.
        boxes: (N, 4), see `resample`.
        side: Of the result, in cells.

    Returns:
        (N, C, side, side), 0 outside of the boxes.
    """
    down = _overlaps(boxes[:, 1], boxes[:, 3], _middles(maps.shape[2], boxes), side)
    across = _overlaps(boxes[:, 0], boxes[:, 2], _middles(maps.shape[3], boxes, mirrored=True), side)
    return down[:, None] @ maps @ across[:, None].transpose(2, 3)


def _overlaps(start: Tensor, end: Tensor, places: Tensor, outputs: int) -> Tensor:
    """Return the weights (N, outputs, inputs) by which a window's cells, with these middles, cover an image's."""
    inputs = len(places)
    length = ((end - start) / inputs)[:, None, None]
    first = start[:, None, None] + length * (places * inputs - 0.5)
    low = (_middles(outputs, start) - 0.5 / outputs)[:, None]
    covered = torch.minimum(first + length, low + 1 / outputs) - torch.maximum(first, low)
    return torch.relu(covered) / length * (outputs / inputs)


def _everything(images: Tensor) -> Tensor:
    """Return a window (N, 4) of all of each image."""
    return images.new_tensor([[0.0, 0.0, 1.0, 1.0]]).expand(images.shape[0], 4)


def _middles(count: int, like: Tensor, *, mirrored: bool = False) -> Tensor:
    """Return the middles of equal parts of a side, as shares of it; of its mirror image, if asked."""
    places = torch.arange(count, dtype=like.dtype, device=like.device)
    return ((count - 1 - places if mirrored else places) + 0.5) / count
