"""Convert images as pixel arrays and tensors: size, channels, range, grids."""

import logging
import math
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from sonoforge.runtime.atomic import write_bytes
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.plain_image import encoded
from sonoforge.runtime.images.synthetic import as_picture

log = logging.getLogger(__name__)

Pixels = NDArray[np.uint8]

# Of structures in pictures, in order: the palette of Okabe and Ito, "Color Universal Design", 2008.
STRUCTURE_COLOURS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0))
GREY_SHARE = 0.9  # with at least this share of grey images, "auto" means one channel


def choose_channels(images: Pixels, channels: str) -> int:
    """Return the number of channels to train on: 1, 3, or with ``auto`` 1 if at least 90 % of the images are grey.

    The images are (N, H, W, C) uint8, C = 1 or 3.
    """
    if channels != "auto":
        return int(channels)
    return 1 if _is_grey(images).mean() >= GREY_SHARE else 3


def _is_grey(images: Pixels) -> NDArray[np.bool_]:
    """Find which images have equal channels, (N,)."""
    return np.array([bool((image == image[..., :1]).all()) for image in images])


def prepare_images(images: Pixels, image_size: int, channels: int) -> Pixels:
    """Resize (N, H, W, C) uint8, C = 1 or 3, to (N, S, S, channels), S = ``image_size``.

    One channel is ITU-R 601 luma, three are grey replicated. Pillow widens its bilinear filter when reducing, so each
    pixel is an average over its area.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3):
        raise SonoforgeError(f"images: {images.dtype} {images.shape} is not uint8 (N, H, W, 1) or (N, H, W, 3)")
    if not len(images):
        raise SonoforgeError("images: there are none; check the class name and the fold")
    if channels == 1 and images.shape[3] == 3:
        coloured = int((~_is_grey(images)).sum())
        if coloured:
            log.info("%d of %d images are in colour: converted to grey (luma)", coloured, len(images))
    mode = "L" if channels == 1 else "RGB"
    prepared = np.empty((len(images), image_size, image_size, channels), np.uint8)
    for own, pixels in zip(prepared, images, strict=True):
        image = as_picture(pixels).convert(mode).resize((image_size, image_size), Image.Resampling.BILINEAR)
        own[:] = np.asarray(image).reshape(own.shape)
    return prepared


def to_tensor(pixels: Pixels) -> Tensor:
    """Turn (N, S, S, C) uint8 into (N, C, S, S) uint8, channels last in memory."""
    return torch.from_numpy(np.array(pixels)).permute(0, 3, 1, 2)


def to_unit(pixels: Tensor) -> Tensor:
    """Map uint8 0..255 to float -1..1, the range of tanh."""
    return pixels.float().div_(127.5).sub_(1.0)


def to_pixels(images: Tensor) -> Pixels:
    """Map (N, C, S, S) float -1..1 to (N, S, S, C) uint8, rounded to the nearest."""
    levels = (images.detach().float() + 1.0).mul_(127.5).round_().clamp_(0.0, 255.0)
    return levels.to(torch.uint8).permute(0, 2, 3, 1).cpu().contiguous().numpy()


def colour_structures(masks: Pixels) -> Pixels:
    """Show masks (N, S, S, K) uint8 of several structures in colour, (N, S, S, 3) uint8; a single one stays grey."""
    if masks.shape[3] == 1:
        return masks
    colours = np.array([STRUCTURE_COLOURS[k % len(STRUCTURE_COLOURS)] for k in range(masks.shape[3])], np.float32)
    return np.clip(masks.astype(np.float32) / 255 @ colours, 0, 255).astype(np.uint8)


def grid_picture(images: Pixels, columns: int | None = None) -> Pixels:
    """Arrange (N, S, S, C) uint8 in one picture, row by row, as square as possible without ``columns``."""
    count, size, _, channels = images.shape
    columns = columns or math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    canvas = np.zeros((rows * size, columns * size, channels), np.uint8)
    for index, image in enumerate(images):
        top, left = index // columns * size, index % columns * size
        canvas[top : top + size, left : left + size] = image
    return canvas


def write_grid(images: Pixels, path: Path) -> None:
    """Write (N, S, S, C) uint8 as one PNG, see `grid_picture`."""
    write_bytes(path, encode_png(grid_picture(images)))


def encode_png(pixels: Pixels) -> bytes:
    """Encode (H, W, C) uint8 as a PNG."""
    return encoded(as_picture(pixels), compress_level=3)
