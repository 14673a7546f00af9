"""Measure how an image's contrast spreads over frequencies, from whole structures to single speckles.

Durall, Keuper, Keuper, "Watch your Up-Convolution", CVPR 2020, section 3.1: the power of each image's Fourier
transform, averaged over rings of equal frequency.  Two choices differ: images fade towards their border (Hann window),
and rings are averaged as levels in decibels, so one bright scan does not dominate.
"""

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.errors import SonoforgeError

SMALLEST = 16  # side in pixels
FINE = 0.5  # of the finest frequency; rings from here on are speckle, details of up to 4 pixels
_DARKEST = 1e-6  # power below which a ring counts as empty: flat images have no finite level

_BLOCK = 64  # images at a time


def ring_levels(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the level of each image (N, S, S, C) uint8 in each ring, (N, S // 2) float32 in decibels.

    Ring k, counted from 1, has k to k + 1 periods in the image's side; the power of the channels is summed.

    Raises:
        ValueError: The images are not square uint8 images.
        SonoforgeError: There are no images, or their sides are below 16.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] != images.shape[2]:
        raise ValueError(f"spectrum: images are {images.dtype} {images.shape}, not uint8 (N, S, S, C)")
    side = images.shape[1]
    if not len(images) or side < SMALLEST:
        raise SonoforgeError(f"spectrum: {len(images)} images of side {side}; a side of {SMALLEST} or more is needed")
    window = np.hanning(side + 1)[:side]
    weights = np.outer(window, window)[None, :, :, None]
    frequencies = np.fft.fftfreq(side, 1 / side)
    rings = np.hypot(*np.meshgrid(frequencies, frequencies)).astype(int).ravel()
    inside = (rings >= 1) & (rings <= side // 2)
    counts = np.bincount(rings[inside], minlength=side // 2 + 1)[1:]
    levels = []
    for start in range(0, len(images), _BLOCK):
        block = images[start : start + _BLOCK].astype(np.float64) / 255
        block -= (block * weights).sum((1, 2), keepdims=True) / weights.sum()
        power = (np.abs(np.fft.fft2(block * weights, axes=(1, 2))) ** 2).sum(3).reshape(len(block), -1)
        sums = np.stack([np.bincount(rings[inside], own[inside], minlength=side // 2 + 1)[1:] for own in power])
        levels.append(10 * np.log10(np.maximum(sums / counts, _DARKEST)))
    return np.concatenate(levels).astype(np.float32)


def spectrum_distance(first: NDArray[np.float32], second: NDArray[np.float32]) -> tuple[float, float]:
    """Compare the mean levels of two sets, (N, K) and (M, K) of `ring_levels`.

    Return the root mean square of their difference in decibels, over all rings and over those of `FINE` and above.
    """
    apart = first.mean(0, dtype=np.float64) - second.mean(0, dtype=np.float64)
    squares = np.square(apart)
    fine = squares[round(FINE * len(squares)) :]
    return float(np.sqrt(squares.mean())), float(np.sqrt(fine.mean()))
