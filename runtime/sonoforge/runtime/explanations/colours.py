"""The colours of a heat map: dark blue over red to light yellow, in steps that look equal.

The path is drawn in OKLab (B. Ottosson, A perceptual color space for image processing, 2020), whose distances follow
the eye's, and cut into steps of equal length; lightness rises all the way, so it reads without colour vision too.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

LEVELS = 256

# From OKLab to the cone responses' cube roots, and from cones to linear sRGB: Ottosson 2020, "Converting".
_TO_CONES = np.array(
    [[1, 0.3963377774, 0.2158037573], [1, -0.1055613458, -0.0638541728], [1, -0.0894841775, -1.291485548]]
)
_TO_RGB = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.707614701],
    ]
)
# Ours: lightness, chroma and hue (degrees) at the ends; chosen by eye on grey scans.
_LIGHTNESS, _CHROMA, _HUE = (0.35, 0.95), 0.16, (290.0, 460.0)


@functools.cache
def heat() -> NDArray[np.uint8]:
    """Return the table: (256, 3) uint8 sRGB, from little to much."""
    along = np.linspace(0, 1, 16 * LEVELS)
    lightness = np.interp(along, (0, 1), _LIGHTNESS)
    hue = np.radians(np.interp(along, (0, 1), _HUE))
    chroma = np.full_like(along, _CHROMA)
    # The largest chroma up to ours that a screen can show, by halving.
    low, high = np.zeros_like(along), chroma
    for _ in range(20):
        middle = (low + high) / 2
        rgb = _linear_rgb(lightness, middle, hue)
        inside = ((rgb >= 0) & (rgb <= 1)).all(axis=1)
        low, high = np.where(inside, middle, low), np.where(inside, high, middle)
    path = np.stack([lightness, low * np.cos(hue), low * np.sin(hue)], axis=1)
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    steps = np.interp(np.linspace(0, length[-1], LEVELS), length, along)
    linear = np.stack([np.interp(steps, along, channel) for channel in _linear_rgb(lightness, low, hue).T], axis=1)
    linear = np.clip(linear, 0, 1)
    # IEC 61966-2-1: sRGB's transfer curve.
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.asarray(np.rint(255 * encoded).astype(np.uint8))


def _linear_rgb(
    lightness: NDArray[np.float64], chroma: NDArray[np.float64], hue: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(N, 3) linear sRGB of (N,) OKLab colours in polar form; outside 0..1 where a screen cannot show them."""
    lab = np.stack([lightness, chroma * np.cos(hue), chroma * np.sin(hue)], axis=1)
    return np.asarray((lab @ _TO_CONES.T) ** 3 @ _TO_RGB.T)
